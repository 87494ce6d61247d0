import { createServer, type Server, type Socket } from "node:net";
import type { AnswerQuery } from "./answer-queries.ts";
import { type Listener, withoutScope } from "./listen-udp.ts";

const MAX_CONNECTIONS = 1024;
const MAX_CONNECTIONS_PER_CLIENT = 32;
/** Queries of one connection under way; then it is not read from until one is answered. */
const MAX_PIPELINED = 32;
/** Answers that a client does not read; then the connection ends. */
const MAX_UNREAD_BYTES = 512 * 1024;
const IDLE_MS = 10_000;

/** Returns a TCP listener (RFC 7766: two bytes of length, any number of queries) once it is bound. @throws Error of the system */
export async function listenTcp(family: 4 | 6, port: number, answer: AnswerQuery): Promise<Listener> {
  const open = new Set<Socket>();
  const perClient = new Map<string, number>();
  const server = createServer({ noDelay: true }, (socket) => {
    const client = withoutScope(socket.remoteAddress ?? "");
    const count = perClient.get(client) ?? 0;
    if (client === "" || open.size >= MAX_CONNECTIONS || count >= MAX_CONNECTIONS_PER_CLIENT) {
      socket.on("error", () => {});
      socket.destroy();
      return;
    }
    open.add(socket);
    perClient.set(client, count + 1);
    socket.once("close", () => {
      open.delete(socket);
      const left = (perClient.get(client) ?? 1) - 1;
      if (left > 0) perClient.set(client, left);
      else perClient.delete(client);
    });
    serveConnection(socket, client, answer);
  });
  await bind(server, family, port);
  server.on("error", () => {}); // accepting failed (no file descriptor left): the next connection may do
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

function bind(server: Server, family: 4 | 6, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host: family === 4 ? "0.0.0.0" : "::", ipv6Only: family === 6, backlog: 256 }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** The time limit runs from one whole query to the next, so that a byte now and then does not keep a connection open. */
function serveConnection(socket: Socket, client: string, answer: AnswerQuery): void {
  let received: Buffer = Buffer.alloc(0);
  let underWay = 0;
  let timer = setTimeout(() => socket.destroy(), IDLE_MS);
  const rearm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (underWay > 0) rearm();
      else socket.destroy();
    }, IDLE_MS);
  };
  const reply = (message: Buffer | null): void => {
    underWay -= 1;
    if (socket.destroyed) return;
    if (message !== null) {
      const length = Buffer.allocUnsafe(2);
      length.writeUInt16BE(message.length);
      socket.write(Buffer.concat([length, message]));
    }
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
    else takeQueries();
  };
  const takeQueries = (): void => {
    while (underWay < MAX_PIPELINED && received.length >= 2) {
      const end = 2 + received.readUInt16BE(0);
      if (received.length < end) break;
      const query = received.subarray(2, end);
      received = received.subarray(end);
      underWay += 1;
      rearm();
      void answer(query, client, "tcp").then(reply);
    }
    if (underWay >= MAX_PIPELINED) socket.pause();
    else socket.resume();
  };
  socket.on("error", () => socket.destroy());
  socket.on("close", () => clearTimeout(timer));
  socket.on("data", (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    takeQueries();
  });
}
