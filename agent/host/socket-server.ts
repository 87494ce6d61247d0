import { chmod, chown, mkdir, unlink } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import { AgentError, toAgentError } from "../errors.ts";

export interface SocketServer {
  close(): Promise<void>;
}

export type CallBody = { readonly [key: string]: unknown };

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
  await listen(server, socketPath, options);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function listen(server: Server, socketPath: string, { uid, gid }: SocketServerOptions): Promise<void> {
  try {
    await mkdir(dirname(socketPath), { recursive: true });
    await unlink(socketPath).catch(() => {
      // There was none.
    });
    // The mask holds while the socket is made, so that at no moment anybody else could connect.
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(socketPath, resolve);
      });
    } finally {
      process.umask(mask);
    }
    await chmod(socketPath, 0o600);
    if (process.getuid?.() === 0) await chown(socketPath, uid, gid);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot serve ${socketPath}: ${(error as Error).message}`, { cause: error });
  }
}

async function answerCall(
  options: SocketServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let status = 200;
  let text: string | Buffer;
  try {
    const body = await readBody(request, options.maxBodyBytes);
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

async function readBody(request: IncomingMessage, maxBytes: number): Promise<CallBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new AgentError("USAGE", `the body has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  if (bytes === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new AgentError("USAGE", "the body is no JSON", { cause: error });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as CallBody;
  throw new AgentError("USAGE", "the body is no object");
}
