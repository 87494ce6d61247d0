import { spawn } from "node:child_process";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";

export interface BackendAnswer {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: Buffer;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly body: Buffer;
  /** Asks `git http-backend`, by default with what the client sent. */
  backend(body?: Buffer): Promise<BackendAnswer>;
  send(answer: BackendAnswer): void;
}

/** Answers a request in the place of the real server, or returns false to let it through. */
export type Intercept = (exchange: Exchange) => boolean | Promise<boolean>;

export interface GitTestServer {
  readonly url: string;
  readonly port: number;
  /** `METHOD path protocol` of each request so far. */
  readonly requests: string[];
  readonly authorizations: (string | undefined)[];
  intercept: Intercept | null;
  /** Bytes on the sockets since the last call. */
  takeTraffic(): { up: number; down: number };
  close(): Promise<void>;
}

/** Returns a real Git server (`git http-backend`) on loopback whose answers a test can bend. */
export async function startGitServer(
  folder: string,
  tls: { readonly key: string | Buffer; readonly cert: string | Buffer } | null = null,
): Promise<GitTestServer> {
  const sockets = new Set<Socket>();
  const gone = { up: 0, down: 0 };
  let taken = { up: 0, down: 0 };
  const traffic = (): { up: number; down: number } => {
    const sum = { ...gone };
    for (const socket of sockets) {
      sum.up += socket.bytesRead;
      sum.down += socket.bytesWritten;
    }
    return sum;
  };
  const state: Pick<GitTestServer, "requests" | "authorizations" | "intercept"> = {
    requests: [],
    authorizations: [],
    intercept: null,
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const sent = Buffer.concat(chunks);
    const path = request.url ?? "/";
    state.requests.push(`${request.method} ${path} ${request.headers["git-protocol"] ?? "-"}`);
    state.authorizations.push(request.headers.authorization);
    const send = (answer: BackendAnswer): void => {
      response.writeHead(answer.status, { ...answer.headers, "content-length": answer.body.length });
      response.end(answer.body);
    };
    const exchange: Exchange = {
      request,
      response,
      path,
      body: sent,
      backend: (body = sent) => runBackend(folder, request, path, body),
      send,
    };
    if (state.intercept !== null && (await state.intercept(exchange))) return;
    send(await exchange.backend());
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    handle(request, response).catch(() => response.destroy());
  };
  const server: Server = tls === null ? createServer(listener) : createTlsServer(tls, listener);
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => {
      sockets.delete(socket);
      gone.up += socket.bytesRead;
      gone.down += socket.bytesWritten;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return Object.assign(state, {
    url: `${tls === null ? "http" : "https"}://127.0.0.1:${port}/policy.git`,
    port,
    takeTraffic: () => {
      const now = traffic();
      const since = { up: now.up - taken.up, down: now.down - taken.down };
      taken = now;
      return since;
    },
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  });
}

/** One CGI run (RFC 3875) of Git's own server. */
async function runBackend(
  folder: string,
  request: IncomingMessage,
  path: string,
  body: Buffer,
): Promise<BackendAnswer> {
  const url = new URL(path, "http://localhost");
  const child = spawn("git", ["http-backend"], {
    env: {
      ...process.env,
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_HTTP_EXPORT_ALL: "1",
      GIT_PROJECT_ROOT: folder,
      PATH_INFO: url.pathname.replace(/^\/policy\.git/, ""),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? "GET",
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      CONTENT_LENGTH: String(body.length),
      GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      REMOTE_ADDR: "127.0.0.1",
    },
    stdio: ["pipe", "pipe", "ignore"],
  });
  child.stdin.on("error", () => {});
  child.stdin.end(body);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  const output = Buffer.concat(chunks);
  const split = output.indexOf("\r\n\r\n");
  const headers: { [name: string]: string } = {};
  let status = 200;
  for (const line of output.toString("latin1", 0, Math.max(0, split)).split("\r\n")) {
    const [name = "", value = ""] = line.split(/:\s*(.*)/s);
    if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
    else if (name !== "") headers[name.toLowerCase()] = value;
  }
  return { status, headers, body: output.subarray(split + 4) };
}
