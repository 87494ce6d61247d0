import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { toAgentError } from "../errors.ts";
import { listenPrivately } from "./listen-privately.ts";
import { type CallBody, readCallBody } from "./read-call-body.ts";

export interface SocketServer {
  close(): Promise<void>;
}

export interface SocketServerOptions {
  /** The one user beside root that may call. */
  readonly uid: number;
  readonly gid: number;
  readonly maxBodyBytes: number;
  /** Answers a call (`GET /status`): a value that becomes JSON, or the bytes of JSON. */
  readonly answer: (call: string, query: URLSearchParams, body: CallBody) => Promise<unknown>;
}

/**
 * Serves calls of our own processes on a Unix socket; returns when it listens. What lies in its place is replaced: the
 * caller holds the lock that keeps a second one away. @throws AgentError HOST_FILE
 */
export async function serveSocket(socketPath: string, options: SocketServerOptions): Promise<SocketServer> {
  const server = createServer({ maxHeaderSize: 8192, requestTimeout: 10_000 }, (request, response) => {
    void answerCall(options, request, response);
  });
  server.on("clientError", (_error, socket) => socket.destroy());
  await listenPrivately(server, socketPath, options);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answerCall(
  options: SocketServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let status = 200;
  let text: string | Buffer;
  try {
    const body = await readCallBody(request, options.maxBodyBytes);
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://socket");
    const answer = await options.answer(`${request.method} ${pathname}`, searchParams, body);
    text = Buffer.isBuffer(answer) ? answer : JSON.stringify(answer);
  } catch (error) {
    const { code, message, remedy, details } = toAgentError(error, "HOST_COMMAND", "the call failed");
    status = 409;
    text = JSON.stringify({ code, message, remedy, details });
  }
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}
