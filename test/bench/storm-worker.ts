import { monotonicMs, nowMs, sleepMs } from "../../agent/host/clock.ts";

// Calls of the C library, blocking: a connection through Node's own sockets costs several times what the kernel's part does.

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const MSG_NOSIGNAL = 0x4000;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;

/** Connections that were made and that were not, by one process. */
export interface StormResult {
  readonly made: number;
  readonly failed: number;
  readonly tookMs: number;
}

/**
 * Connects to a port of several addresses in turns, closing each connection by a reset, until the time is over. Waits for
 * the given moment first: processes that still start would take the processor from those that measure.
 * With a `hello` (base64), a connection counts when it was sent and something came back.
 */
export async function connectAgainAndAgain(params: {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly beginAtMs: number;
  readonly forMs: number;
  readonly hello?: string;
}): Promise<StormResult> {
  const hello = params.hello === undefined ? null : Buffer.from(params.hello, "base64");
  const answer = Buffer.alloc(1);
  const libc = await loadLibc();
  const targets = params.addresses.map((address) => socketAddress(address, params.port));
  // A reset leaves nothing behind that would hold the port.
  const linger = Buffer.from(new Int32Array([1, 0]).buffer);
  const patience = Buffer.from(new BigInt64Array([2n, 0n]).buffer);
  await sleepMs(Math.max(0, params.beginAtMs - nowMs()));
  const startedMs = monotonicMs();
  const counts = { made: 0, failed: 0 };
  for (let turn = 0; monotonicMs() - startedMs < params.forMs; turn += 1) {
    const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
    libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, linger.length);
    libc.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, patience, patience.length);
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, patience, patience.length);
    const target = targets[turn % targets.length] ?? Buffer.alloc(16);
    const isConnected = libc.connect(fd, target, target.length) === 0;
    const isMade =
      isConnected &&
      (hello === null ||
        (libc.send(fd, hello, hello.length, MSG_NOSIGNAL) === hello.length && libc.recv(fd, answer, 1, 0) === 1));
    counts[isMade ? "made" : "failed"] += 1;
    libc.close(fd);
  }
  return { ...counts, tookMs: monotonicMs() - startedMs };
}

/** Accepts and closes connections on a port of every address until it is killed; answers what is sent with one byte, if it shall. */
export async function acceptForEver({
  port,
  answers = false,
}: {
  readonly port: number;
  readonly answers?: boolean;
}): Promise<never> {
  const libc = await loadLibc();
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  const one = Buffer.from([1, 0, 0, 0]);
  libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, one.length);
  const address = socketAddress("0.0.0.0", port);
  if (libc.bind(fd, address, address.length) !== 0 || libc.listen(fd, 4_096) !== 0) {
    throw new Error(`cannot listen on port ${port}`);
  }
  console.error("listening");
  const hello = Buffer.alloc(4_096);
  const patience = Buffer.from(new BigInt64Array([1n, 0n]).buffer);
  for (;;) {
    const connection = libc.accept(fd, null, null);
    if (answers) {
      libc.setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, patience, patience.length);
      if (libc.recv(connection, hello, hello.length, 0) > 0) libc.send(connection, one, 1, MSG_NOSIGNAL);
    }
    libc.close(connection);
  }
}

function socketAddress(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  Buffer.from(address.split(".").map(Number)).copy(bytes, 4);
  return bytes;
}

interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number;
  connect(fd: number, address: Buffer, length: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  listen(fd: number, backlog: number): number;
  accept(fd: number, address: null, length: null): number;
  send(fd: number, bytes: Buffer, length: number, flags: number): number;
  recv(fd: number, into: Buffer, length: number, flags: number): number;
  close(fd: number): number;
}

async function loadLibc(): Promise<Libc> {
  const library = (await import("koffi")).default.load(null);
  return {
    socket: library.func("int socket(int domain, int type, int protocol)"),
    setsockopt: library.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)"),
    connect: library.func("int connect(int fd, const void *address, uint32_t length)"),
    bind: library.func("int bind(int fd, const void *address, uint32_t length)"),
    listen: library.func("int listen(int fd, int backlog)"),
    accept: library.func("int accept(int fd, void *address, void *length)"),
    send: library.func("int64_t send(int fd, const void *bytes, size_t length, int flags)"),
    recv: library.func("int64_t recv(int fd, void *into, size_t length, int flags)"),
    close: library.func("int close(int fd)"),
  };
}
