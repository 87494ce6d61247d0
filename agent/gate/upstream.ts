import { randomFillSync } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { connect } from "node:net";
import { HEADER_BYTES } from "./wire.ts";
import { answersQuery } from "./wire-answer.ts";
import { buildQuery, type Question } from "./wire-query.ts";

/** Named on the loopback. */
export interface Upstream {
  /** Returns the whole answer to a question, or null when there is none in time or too many questions are under way. Never rejects. */
  ask(question: Question, transport: "udp" | "tcp"): Promise<Buffer | null>;
  inFlight(): number;
  close(): void;
}

export interface UpstreamOptions {
  readonly address: string;
  readonly port: number;
  /** The address to ask from; without it, the system's choice. */
  readonly localAddress?: string;
  /** For one try over UDP, of two; for the whole exchange over TCP. */
  readonly timeoutMs: number;
  readonly maxInFlight: number;
}

const SOCKETS = 8;
const SOCKET_BUFFER_BYTES = 1024 * 1024;
const MAX_TCP_ANSWER_BYTES = 65_535;
/** How often the queries that waited too long are looked for. */
const TICK_MS = 100;

interface Pending {
  readonly query: Buffer;
  readonly questionEnd: number;
  readonly deadlineMs: number;
  readonly resolve: (answer: Buffer | null) => void;
}

interface Channel {
  readonly socket: Socket;
  readonly pending: Map<number, Pending>;
  isOpen: boolean;
}

/**
 * Returns an open upstream: connected UDP sockets (the kernel drops datagrams from anywhere else) with random ids,
 * and one TCP connection per TCP question. Answers are matched by socket, id and the bytes of the question.
 */
export async function openUpstream(options: UpstreamOptions): Promise<Upstream> {
  const channels = await Promise.all(Array.from({ length: SOCKETS }, () => openChannel(options)));
  let next = 0;
  let tcpInFlight = 0;
  const inFlight = (): number => channels.reduce((sum, { pending }) => sum + pending.size, tcpInFlight);
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const { pending } of channels) {
      for (const [id, waiting] of pending) {
        if (waiting.deadlineMs > nowMs) break;
        pending.delete(id);
        waiting.resolve(null);
      }
    }
  }, TICK_MS);
  timer.unref();

  const askUdp = (question: Question): Promise<Buffer | null> => {
    next = (next + 1) % SOCKETS;
    const channel = channels[next];
    if (channel === undefined || !channel.isOpen) return Promise.resolve(null);
    const id = freeId(channel.pending);
    const query = buildQuery(id, question);
    const questionEnd = HEADER_BYTES + question.nameBytes.length + 4;
    return new Promise((resolve) => {
      const deadlineMs = performance.now() + options.timeoutMs;
      channel.pending.set(id, { query, questionEnd, deadlineMs, resolve });
      channel.socket.send(query);
    });
  };
  return {
    ask: async (question, transport) => {
      if (inFlight() >= options.maxInFlight) return null;
      if (transport === "udp") return (await askUdp(question)) ?? (await askUdp(question));
      tcpInFlight += 1;
      try {
        return await askTcp(question, options);
      } finally {
        tcpInFlight -= 1;
      }
    },
    inFlight,
    close: () => {
      clearInterval(timer);
      for (const channel of channels) {
        channel.isOpen = false;
        failAll(channel);
        channel.socket.close();
      }
    },
  };
}

async function openChannel(options: UpstreamOptions): Promise<Channel> {
  const socket = createSocket({
    type: options.address.includes(":") ? "udp6" : "udp4",
    recvBufferSize: SOCKET_BUFFER_BYTES,
    sendBufferSize: SOCKET_BUFFER_BYTES,
  });
  const channel: Channel = { socket, pending: new Map(), isOpen: false };
  socket.on("message", (message) => {
    if (message.length < HEADER_BYTES) return;
    const id = message.readUInt16BE(0);
    const waiting = channel.pending.get(id);
    if (waiting === undefined || !answersQuery(message, waiting.query, waiting.questionEnd)) return;
    channel.pending.delete(id);
    waiting.resolve(message);
  });
  // ECONNREFUSED: nobody listens. All that was asked here fails now instead of after the time limit.
  socket.on("error", () => failAll(channel));
  const { localAddress } = options;
  if (localAddress !== undefined) await new Promise<void>((resolve) => socket.bind({ address: localAddress }, resolve));
  await new Promise<void>((resolve) => socket.connect(options.port, options.address, resolve));
  channel.isOpen = true;
  return channel;
}

function failAll(channel: Channel): void {
  const waiting = [...channel.pending.values()];
  channel.pending.clear();
  for (const { resolve } of waiting) resolve(null);
}

const randomPool = Buffer.alloc(4096);
let randomAt = randomPool.length;

/** Returns a random id that no query of the socket uses. There are always free ones: the bound of questions is below 65,536. */
function freeId(pending: ReadonlyMap<number, unknown>): number {
  for (;;) {
    if (randomAt >= randomPool.length) {
      randomFillSync(randomPool);
      randomAt = 0;
    }
    const id = randomPool.readUInt16BE(randomAt);
    randomAt += 2;
    if (!pending.has(id)) return id;
  }
}

function askTcp(question: Question, options: UpstreamOptions): Promise<Buffer | null> {
  const id = freeId(new Map());
  const query = buildQuery(id, question);
  const questionEnd = HEADER_BYTES + question.nameBytes.length + 4;
  return new Promise((resolve) => {
    const { address: host, port, localAddress } = options;
    const socket = connect({ host, port, noDelay: true, ...(localAddress === undefined ? {} : { localAddress }) });
    const end = (answer: Buffer | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(null), options.timeoutMs);
    const chunks: Buffer[] = [];
    let bytes = 0;
    socket.on("error", () => end(null));
    socket.on("close", () => end(null));
    socket.on("connect", () => {
      const length = Buffer.allocUnsafe(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_TCP_ANSWER_BYTES + 2) return end(null);
      if (bytes < 2) return;
      const all = Buffer.concat(chunks);
      const length = all.readUInt16BE(0);
      if (bytes < 2 + length) return;
      const answer = all.subarray(2, 2 + length);
      end(length >= HEADER_BYTES && answersQuery(answer, query, questionEnd) ? answer : null);
    });
  });
}
