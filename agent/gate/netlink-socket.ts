import { endianness } from "node:os";
import { AgentError } from "../errors.ts";
import { errnoText, openLibc } from "../host/libc.ts";
import { type EncodedBatch, readReplies } from "./netlink-message.ts";

/** A netfilter netlink socket. It lives as long as the process; one transaction at a time. */
export interface NetlinkSocket {
  /** Sends a batch and resolves when the kernel has committed it. @throws AgentError HOST_COMMAND with the kernel's errno. */
  transact(batch: EncodedBatch): Promise<void>;
  close(): void;
}

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_NETFILTER = 12;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const MSG_DONTWAIT = 0x40;
/** A batch must fit into the send buffer: reconciling 100,000 pins takes about 30 MB. */
const BUFFER_BYTES = 64 * 1024 * 1024;

/**
 * Returns an open socket. Needs CAP_NET_ADMIN in the network namespace's user namespace, and nothing else.
 * @throws AgentError HOST_MISSING when the C library cannot be called or the kernel refuses the socket.
 */
export async function openNetlinkSocket(): Promise<NetlinkSocket> {
  if (endianness() !== "LE") throw new AgentError("HOST_MISSING", "netlink is written for little-endian machines");
  const libc = await loadSocketCalls();
  const fd: number = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) throw new AgentError("HOST_MISSING", `no netlink socket: ${libc.errno()}`);
  const size = Buffer.alloc(4);
  size.writeInt32LE(BUFFER_BYTES);
  const one = Buffer.from([1, 0, 0, 0]);
  const failed =
    libc.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, size, 4) < 0 ||
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4) < 0 ||
    libc.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, one, 4) < 0;
  if (failed) {
    const reason = libc.errno();
    libc.close(fd);
    throw new AgentError("HOST_MISSING", `cannot set up the netlink socket: ${reason}`, {
      remedy: "run the gate with CAP_NET_ADMIN",
    });
  }
  const replies = Buffer.alloc(64 * 1024);
  const receive = (): Buffer | null => {
    const length: number = libc.recv(fd, replies, replies.length, MSG_DONTWAIT);
    return length > 0 ? replies.subarray(0, length) : null;
  };
  return {
    transact: async (batch) => {
      while (receive() !== null); // what an earlier, failed transaction left behind
      const sent = await libc.sendLater(fd, batch.bytes);
      if (sent !== batch.bytes.length) throw new AgentError("HOST_COMMAND", "the kernel did not take the whole batch");
      // The kernel works the batch off within send(), so all its replies are there now.
      let isCommitted = false;
      for (let bytes = receive(); bytes !== null; bytes = receive()) {
        const { errno, isAcked } = readReplies(bytes, batch);
        if (errno !== 0) throw new AgentError("HOST_COMMAND", `nf_tables refused: ${errnoText(errno)}`);
        isCommitted ||= isAcked;
      }
      if (!isCommitted) throw new AgentError("HOST_COMMAND", "nf_tables did not acknowledge the transaction");
    },
    close: () => libc.close(fd),
  };
}

interface SocketCalls {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number;
  recv(fd: number, buffer: Buffer, length: number, flags: number): number;
  close(fd: number): number;
  /** The name of the error of the last call that failed on this thread. */
  errno(): string;
  /** send(2) on a worker thread: it waits for the kernel's lock while an apply loads a large ruleset. */
  sendLater(fd: number, bytes: Buffer): Promise<number>;
}

async function loadSocketCalls(): Promise<SocketCalls> {
  const { library, errno } = await openLibc();
  const send = library.func("intptr_t send(int fd, const void *buffer, uintptr_t length, int flags)");
  return {
    socket: library.func("int socket(int domain, int type, int protocol)"),
    setsockopt: library.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)"),
    recv: library.func("intptr_t recv(int fd, void *buffer, uintptr_t length, int flags)"),
    close: library.func("int close(int fd)"),
    errno,
    sendLater: (fd, bytes) =>
      new Promise((resolve, reject) => {
        send.async(fd, bytes, bytes.length, 0, (error: Error | null, length: number) => {
          if (error === null || error === undefined) resolve(Number(length));
          else reject(error);
        });
      }),
  };
}
