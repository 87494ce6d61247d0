import { constants, endianness } from "node:os";
import { AgentError } from "../errors.ts";
import { errnoText, openLibc } from "../host/libc.ts";
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

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_NETFILTER = 12;
const MSG_DONTWAIT = 0x40;
const FLAG_REQUEST = 1;
const NLMSG_ERROR = 2;
const SUBSYSTEM_NFTABLES = 10 << 8;
const NEW_TABLE = SUBSYSTEM_NFTABLES | 0;
const GET_TABLE = SUBSYSTEM_NFTABLES | 1;
const FAMILY_INET = 1;
const TABLE = { name: 1, handle: 4 } as const;
const HEADER_BYTES = 20;

/** Returns an open watch. @throws AgentError HOST_MISSING when the C library cannot be called, or without a socket */
export async function openTableWatch(): Promise<TableWatch> {
  if (endianness() !== "LE") throw new AgentError("HOST_MISSING", "netlink is written for little-endian machines");
  const { library, errno } = await openLibc();
  const open = library.func("int socket(int domain, int type, int protocol)");
  const send = library.func("intptr_t send(int fd, const void *buffer, uintptr_t length, int flags)");
  const receive = library.func("intptr_t recv(int fd, void *buffer, uintptr_t length, int flags)");
  const close = library.func("int close(int fd)");
  const fd: number = open(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) throw new AgentError("HOST_MISSING", `no netlink socket: ${errno()}`);
  const reply = Buffer.alloc(8192);
  let sequence = 0;
  const readHandle = (name: string): number | null => {
    sequence = (sequence + 1) >>> 0;
    const question = encodeGetTable(name, sequence);
    if (Number(send(fd, question, question.length, MSG_DONTWAIT)) !== question.length) throw failed(errno());
    // What answers an earlier question that failed in between is passed over.
    for (;;) {
      const length = Number(receive(fd, reply, reply.length, MSG_DONTWAIT));
      if (length <= 0) throw failed(errno());
      const answer = readAnswer(reply.subarray(0, length), sequence);
      if (answer === "another") continue;
      if ("handle" in answer) return answer.handle;
      if (answer.errno === constants.errno.ENOENT) return null;
      throw failed(errnoText(answer.errno));
    }
  };
  return {
    read: () => ({ base: readHandle(BASE_TABLE), policy: readHandle(POLICY_TABLE) }),
    close: () => close(fd),
  };
}

function failed(reason: string): AgentError {
  return new AgentError("HOST_COMMAND", `nf_tables does not tell which tables there are: ${reason}`);
}

/** Returns the question for a table of the inet family. */
export function encodeGetTable(name: string, sequence: number): Buffer {
  const text = Buffer.from(`${name}\0`);
  const message = Buffer.alloc(HEADER_BYTES + ((4 + text.length + 3) & ~3));
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(GET_TABLE, 4);
  message.writeUInt16LE(FLAG_REQUEST, 6);
  message.writeUInt32LE(sequence, 8);
  message[16] = FAMILY_INET;
  message.writeUInt16LE(4 + text.length, HEADER_BYTES);
  message.writeUInt16LE(TABLE.name, HEADER_BYTES + 2);
  text.copy(message, HEADER_BYTES + 4);
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
  const end = Math.min(bytes.readUInt32LE(0), bytes.length);
  for (let at = HEADER_BYTES; at + 4 <= end; ) {
    const length = bytes.readUInt16LE(at);
    if (length < 4) break;
    if (bytes.readUInt16LE(at + 2) === TABLE.handle && length === 12 && at + 12 <= end) {
      return { handle: Number(bytes.readBigUInt64BE(at + 4)) };
    }
    at += (length + 3) & ~3;
  }
  return "another";
}
