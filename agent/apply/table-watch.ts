import { constants } from "node:os";
import { AgentError } from "../errors.ts";
import { errnoText } from "../host/libc.ts";
import {
  ATTRIBUTE_BYTES,
  findAttribute,
  HEADER_BYTES,
  NLMSG_ERROR,
  openNetlink,
  requestHeader,
} from "../host/netlink.ts";
import { BASE_TABLE, POLICY_TABLE, type TableHandles } from "./kernel.ts";

/*
 * One question per table over netlink (linux/netlink.h, linux/netfilter/nf_tables.h), which the kernel answers within the
 * call and without waiting for a transaction: 40 µs for both, against 4 ms for `nft list tables` and up to 10 ms in which a
 * large process forks. Events of nf_tables would say the same and cost the kernel a message for each pin.
 */

/** Reads the handles of our tables over and over. */
export interface TableWatch {
  /** Returns the handles of both tables. @throws AgentError HOST_COMMAND with the kernel's errno */
  readonly read: () => TableHandles;
  readonly close: () => void;
}

const SUBSYSTEM_NFTABLES = 10 << 8;
const NEW_TABLE = SUBSYSTEM_NFTABLES | 0;
const GET_TABLE = SUBSYSTEM_NFTABLES | 1;
const FAMILY_INET = 1;
const TABLE = { name: 1, handle: 4 } as const;

/** Returns an open watch. @throws AgentError HOST_MISSING when the C library cannot be called, or without a socket */
export async function openTableWatch(): Promise<TableWatch> {
  const socket = await openNetlink();
  let sequence = 0;
  const readHandle = (name: string): number | null => {
    sequence = (sequence + 1) >>> 0;
    socket.send(encodeGetTable(name, sequence));
    // What answers an earlier question that failed in between is passed over.
    for (;;) {
      const reply = socket.receive();
      if (reply === null) throw failed(socket.errno());
      const answer = readAnswer(reply, sequence);
      if (answer === "another") continue;
      if ("handle" in answer) return answer.handle;
      if (answer.errno === constants.errno.ENOENT) return null;
      throw failed(errnoText(answer.errno));
    }
  };
  return {
    read: () => ({ base: readHandle(BASE_TABLE), policy: readHandle(POLICY_TABLE) }),
    close: socket.close,
  };
}

function failed(reason: string): AgentError {
  return new AgentError("HOST_COMMAND", `nf_tables does not tell which tables there are: ${reason}`);
}

/** Returns the question for a table of the inet family. */
export function encodeGetTable(name: string, sequence: number): Buffer {
  const text = Buffer.from(`${name}\0`);
  const bytes = HEADER_BYTES + ATTRIBUTE_BYTES + ((text.length + 3) & ~3);
  const message = requestHeader(GET_TABLE, 0, sequence, FAMILY_INET, bytes);
  message.writeUInt16LE(ATTRIBUTE_BYTES + text.length, HEADER_BYTES);
  message.writeUInt16LE(TABLE.name, HEADER_BYTES + 2);
  text.copy(message, HEADER_BYTES + ATTRIBUTE_BYTES);
  return message;
}

/** Returns what a datagram answers to a question: a handle, a positive errno, or that it answers another one. */
export function readAnswer(
  bytes: Buffer,
  sequence: number,
): { readonly handle: number } | { readonly errno: number } | "another" {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(8) !== sequence) return "another";
  const type = bytes.readUInt16LE(4);
  if (type === NLMSG_ERROR) return { errno: -bytes.readInt32LE(16) };
  if (type !== NEW_TABLE) return "another";
  const handle = findAttribute(bytes, 0, Math.min(bytes.readUInt32LE(0), bytes.length), TABLE.handle);
  return handle?.length === 8 ? { handle: Number(bytes.readBigUInt64BE(handle.at)) } : "another";
}
