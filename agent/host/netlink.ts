import { endianness } from "node:os";
import { AgentError } from "../errors.ts";
import { openLibc } from "./libc.ts";

/** A netlink socket (linux/netlink.h, linux/netfilter/nfnetlink.h), which the kernel answers within the call. */
export interface NetlinkSocket {
  /** @throws AgentError HOST_COMMAND with the kernel's errno */
  send(bytes: Buffer): void;
  /** The same on a worker thread: the kernel may be at work for others, or on what is sent. */
  sendLater(bytes: Buffer): Promise<void>;
  /** Returns the next datagram, valid until the next call; null when none is there, or none can be had. */
  receive(): Buffer | null;
  /** Why there was none: the name of the error of the last call that failed. */
  errno(): string;
  close(): void;
}

export interface NetlinkOptions {
  /** How much may be on the way in either direction; needs CAP_NET_ADMIN above the system's bound. */
  readonly bufferBytes?: number;
  /** Default: netfilter. */
  readonly protocol?: number;
  /** Acknowledgements without a copy of what they are for. */
  readonly isBrief?: boolean;
}

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const FLAG_REQUEST = 1;
export const FLAG_DUMP = 0x300;
/** Of a message of netfilter: netlink's own header, then the family, the version and a resource. */
export const HEADER_BYTES = 20;
/** An attribute's length and type, without its flags. */
export const ATTRIBUTE_BYTES = 4;
const ATTRIBUTE_TYPE = 0x3fff;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
export const NETLINK_ROUTE = 0;
const NETLINK_NETFILTER = 12;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const MSG_DONTWAIT = 0x40;
const MAX_DATAGRAM_BYTES = 64 * 1024;

/** Returns an open socket. @throws AgentError HOST_MISSING when the C library cannot be called or the kernel refuses it. */
export async function openNetlink(options: NetlinkOptions = {}): Promise<NetlinkSocket> {
  const { bufferBytes, isBrief = false, protocol = NETLINK_NETFILTER } = options;
  if (endianness() !== "LE") throw new AgentError("HOST_MISSING", "netlink is written for little-endian machines");
  const { library, errno } = await openLibc();
  const open = library.func("int socket(int domain, int type, int protocol)");
  const setOption = library.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");
  const send = library.func("intptr_t send(int fd, const void *buffer, uintptr_t length, int flags)");
  const receive = library.func("intptr_t recv(int fd, void *buffer, uintptr_t length, int flags)");
  const close = library.func("int close(int fd)");
  const fd: number = open(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
  if (fd < 0) throw new AgentError("HOST_MISSING", `no netlink socket: ${errno()}`);
  const number = Buffer.alloc(4);
  const setNumber = (level: number, name: number, value: number): void => {
    number.writeInt32LE(value);
    if (setOption(fd, level, name, number, number.length) === 0) return;
    const reason = errno();
    close(fd);
    throw new AgentError("HOST_MISSING", `cannot set up the netlink socket: ${reason}`, {
      remedy: "run the program with CAP_NET_ADMIN",
    });
  };
  if (bufferBytes !== undefined) {
    setNumber(SOL_SOCKET, SO_SNDBUFFORCE, bufferBytes);
    setNumber(SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes);
  }
  if (isBrief) setNumber(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  const datagram = Buffer.alloc(MAX_DATAGRAM_BYTES);
  return {
    send: (bytes) => {
      if (Number(send(fd, bytes, bytes.length, MSG_DONTWAIT)) === bytes.length) return;
      throw new AgentError("HOST_COMMAND", `the kernel took no netlink message: ${errno()}`);
    },
    sendLater: (bytes) =>
      new Promise((resolve, reject) => {
        send.async(fd, bytes, bytes.length, 0, (error: Error | null, length: number) => {
          if (error !== null && error !== undefined) reject(error);
          else if (Number(length) === bytes.length) resolve();
          else reject(new AgentError("HOST_COMMAND", "the kernel did not take the whole netlink message"));
        });
      }),
    receive: () => {
      const length = Number(receive(fd, datagram, datagram.length, MSG_DONTWAIT));
      return length > 0 ? datagram.subarray(0, length) : null;
    },
    errno,
    close: () => close(fd),
  };
}

/** Returns the headers of a request of the whole length, to which attributes are written: the family is first in netfilter's and in a neighbour's. */
export function requestHeader(type: number, flags: number, sequence: number, family: number, bytes: number): Buffer {
  const message = Buffer.alloc(bytes);
  message.writeUInt32LE(bytes, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(FLAG_REQUEST | flags, 6);
  message.writeUInt32LE(sequence, 8);
  message[16] = family;
  return message;
}

/** Returns where the value of an attribute lies in a message that begins at `start`, behind its headers; null when it is not there. */
export function findAttribute(
  bytes: Buffer,
  start: number,
  end: number,
  type: number,
  headerBytes = HEADER_BYTES,
): { readonly at: number; readonly length: number } | null {
  for (let at = start + headerBytes; at + ATTRIBUTE_BYTES <= end; ) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_BYTES || at + length > end) return null;
    if ((bytes.readUInt16LE(at + 2) & ATTRIBUTE_TYPE) === type) {
      return { at: at + ATTRIBUTE_BYTES, length: length - ATTRIBUTE_BYTES };
    }
    at += (length + 3) & ~3;
  }
  return null;
}
