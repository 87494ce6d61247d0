// Git smart HTTP: a CGI wrapper round `git http-backend` with token auth, byte counters and switchable faults.
import { spawn } from "node:child_process";
import { createServer } from "node:https";
import { gunzipSync } from "node:zlib";
import { injectFault } from "./git-faults.mjs";
import { plainAddress } from "./listeners.mjs";

const maxBodyBytes = 16 * 1024 * 1024;

/** Returns a function that serves a raw connection, and the control methods. */
export function createGitServer({ tls, root, token }) {
  const state = {
    fault: null,
    requireToken: true,
    requests: [],
    sockets: new Set(),
    closedBytes: { in: 0, out: 0 },
    connections: 0,
  };
  const server = createServer(tls, (request, response) => {
    void serve(request, response, { state, root, token }).catch((error) => {
      if (!response.headersSent) response.writeHead(500);
      response.end(`${error.message}\n`);
    });
  });
  server.on("tlsClientError", () => {});
  return {
    accept: (socket) => {
      state.connections += 1;
      state.sockets.add(socket);
      socket.once("close", () => {
        state.sockets.delete(socket);
        state.closedBytes.in += socket.bytesRead;
        state.closedBytes.out += socket.bytesWritten;
      });
      server.emit("connection", socket);
    },
    methods: {
      "git.fault": ({ fault }) => {
        state.fault = fault;
      },
      "git.requireToken": ({ on }) => {
        state.requireToken = on;
      },
      "git.counters": () => ({ connections: state.connections, ...bytes(state), requests: state.requests }),
      "git.dropConnections": () => {
        for (const socket of state.sockets) socket.destroy();
      },
    },
  };
}

function bytes(state) {
  const open = [...state.sockets];
  return {
    bytesIn: open.reduce((sum, socket) => sum + socket.bytesRead, state.closedBytes.in),
    bytesOut: open.reduce((sum, socket) => sum + socket.bytesWritten, state.closedBytes.out),
  };
}

async function serve(request, response, context) {
  const { state } = context;
  const url = new URL(request.url, "https://git.lab.test");
  const body = await readBody(request);
  const step = stepOf(url, body);
  const record = {
    method: request.method,
    path: url.pathname,
    step,
    status: 0,
    from: plainAddress(request.socket.remoteAddress),
  };
  state.requests.push(record);
  response.once("close", () => {
    record.status = response.statusCode;
  });
  const fault = takeFault(state, step);
  const raw = [...state.sockets].find(
    (socket) =>
      socket.remotePort === request.socket.remotePort && socket.remoteAddress === request.socket.remoteAddress,
  );
  if (fault?.when === "before") return injectFault(fault, { response, raw, step });
  if (state.requireToken && !hasToken(request.headers.authorization, context.token)) {
    response.writeHead(401, { "www-authenticate": 'Basic realm="lab"', "content-type": "text/plain" });
    response.end("authentication required\n");
    return;
  }
  const answer = await runBackend(request, url, body, context.root);
  if (fault !== null) return injectFault(fault, { response, raw, step, answer });
  response.writeHead(answer.status, answer.headers);
  response.end(answer.body);
}

/** Which part of a conversation a request is, so that a fault can be put on exactly that part. */
function stepOf(url, body) {
  if (url.pathname.endsWith("/info/refs")) return "info-refs";
  const start = body.subarray(0, 64).toString("latin1");
  return start.includes("command=ls-refs") ? "ls-refs" : "fetch";
}

function takeFault(state, step) {
  const fault = state.fault;
  if (fault === null || (fault.step !== "any" && fault.step !== step)) return null;
  if (fault.times !== null) {
    fault.times -= 1;
    if (fault.times <= 0) state.fault = null;
  }
  return fault;
}

function hasToken(header, token) {
  if (header === undefined) return false;
  const [scheme = "", value = ""] = header.split(" ");
  if (scheme.toLowerCase() === "bearer") return value === token;
  if (scheme.toLowerCase() !== "basic") return false;
  const [, ...password] = Buffer.from(value, "base64").toString("utf8").split(":");
  return password.join(":") === token;
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new Error("request body too large");
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  return request.headers["content-encoding"] === "gzip" ? gunzipSync(body, { maxOutputLength: maxBodyBytes }) : body;
}

/** Runs the CGI program (RFC 3875) and returns its whole answer. */
function runBackend(request, url, body, root) {
  return new Promise((resolve, reject) => {
    const child = spawn("git", ["http-backend"], {
      env: {
        ...process.env,
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: "1",
        GIT_PROTOCOL: request.headers["git-protocol"] ?? "",
        REQUEST_METHOD: request.method,
        PATH_INFO: decodeURIComponent(url.pathname),
        QUERY_STRING: url.search.slice(1),
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        CONTENT_LENGTH: String(body.length),
        REMOTE_USER: "lab",
        REMOTE_ADDR: plainAddress(request.socket.remoteAddress),
      },
      stdio: ["pipe", "pipe", "ignore"],
    });
    const chunks = [];
    child.on("error", reject);
    child.stdin.on("error", () => {});
    child.stdin.end(body);
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.on("close", () => resolve(parseCgi(Buffer.concat(chunks))));
  });
}

function parseCgi(output) {
  const end = output.indexOf("\r\n\r\n");
  if (end < 0) return { status: 500, headers: {}, body: Buffer.from("no answer from git http-backend\n") };
  const lines = output.subarray(0, end).toString("latin1").split("\r\n");
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );
  const status = Number.parseInt(headers.status ?? "200", 10);
  delete headers.status;
  return { status, headers, body: output.subarray(end + 4) };
}
