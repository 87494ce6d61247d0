import { setImmediate } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import { errnoText } from "../host/libc.ts";
import {
  FLAG_DUMP,
  findAttribute,
  HEADER_BYTES,
  NLMSG_DONE,
  NLMSG_ERROR,
  openNetlink,
  requestHeader,
} from "../host/netlink.ts";

/* The connection table over netlink, as linux/netfilter/nfnetlink_conntrack.h has it. */
const SUBSYSTEM_CONNTRACK = 1 << 8;
const NEW_CONNECTION = SUBSYSTEM_CONNTRACK | 0;
const GET_CONNECTION = SUBSYSTEM_CONNTRACK | 1;
const EVERY_FAMILY = 0;
const MARK = 8;
/** A datagram holds some hundred connections; between so many, questions are answered. */
const DATAGRAMS_AT_ONCE = 16;

/**
 * Returns the marks of all flows that the kernel tracks, which are the grants that are in use.
 * @throws AgentError HOST_MISSING, HOST_COMMAND when the kernel does not list them to the end
 */
export async function readFlowMarks(): Promise<ReadonlySet<number>> {
  const socket = await openNetlink();
  try {
    const marks = new Set<number>();
    socket.send(requestHeader(GET_CONNECTION, FLAG_DUMP, 1, EVERY_FAMILY, HEADER_BYTES));
    for (let count = 1; ; count += 1) {
      // The kernel lists on within the call, so that there is a next datagram until the end was told.
      const datagram = socket.receive();
      if (datagram === null) throw failed(socket.errno());
      if (addFlowMarks(datagram, marks)) return marks;
      if (count % DATAGRAMS_AT_ONCE === 0) await setImmediate();
    }
  } finally {
    socket.close();
  }
}

/** Adds the marks in a datagram of the list; returns whether it is the last one. @throws AgentError HOST_COMMAND */
export function addFlowMarks(bytes: Buffer, marks: Set<number>): boolean {
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const type = bytes.readUInt16LE(at + 4);
    const end = at + length;
    if (length < HEADER_BYTES || end > bytes.length) throw failed("a message of no length");
    const errno = type === NLMSG_ERROR || type === NLMSG_DONE ? -bytes.readInt32LE(at + 16) : 0;
    if (errno !== 0) throw failed(errnoText(errno));
    if (type === NLMSG_DONE) return true;
    const mark = type === NEW_CONNECTION ? findAttribute(bytes, at, end, MARK) : null;
    if (mark?.length === 4) marks.add(bytes.readUInt32BE(mark.at));
    at += (length + 3) & ~3;
  }
  return false;
}

function failed(reason: string): AgentError {
  return new AgentError("HOST_COMMAND", `the kernel does not list its connections: ${reason}`);
}
