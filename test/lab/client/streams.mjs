// Long-lived connections: opened once, watched for as long as a test runs. They count what arrives and note how they end.
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

const streams = new Map();
let nextId = 1;

/** Opens a connection, asks for /stream on HTTP ports, and resolves with the stream's id once data arrives. */
export function open({ host, port, secure, servername, name, ca, timeoutMs, request }) {
  const started = performance.now();
  const socket = secure ? connectTls({ host, port, servername, ca }) : connectTcp({ host, port });
  const stream = { socket, bytes: 0, lastAt: started, state: "opening", code: null, endedAt: null };
  const id = nextId++;
  streams.set(id, stream);
  return new Promise((resolve) => {
    const finish = (outcome) => {
      clearTimeout(timer);
      resolve({ ...outcome, ms: performance.now() - started });
    };
    const timer = setTimeout(() => {
      socket.destroy();
      finish({ outcome: "timeout", id: null });
    }, timeoutMs);
    socket.on(secure ? "secureConnect" : "connect", () => {
      socket.write(request ? `GET /stream HTTP/1.1\r\nHost: ${name}\r\n\r\n` : "hello\n");
    });
    socket.on("data", (chunk) => {
      stream.bytes += chunk.length;
      stream.lastAt = performance.now();
      if (stream.state === "opening") {
        stream.state = "open";
        finish({ outcome: "connected", id });
      }
    });
    socket.on("error", (error) => {
      const wasOpen = stream.state === "open";
      end(stream, wasOpen ? "reset" : "failed", error.code ?? "ERROR");
      if (!wasOpen)
        finish({ outcome: error.code === "ETIMEDOUT" ? "timeout" : "refused", code: error.code ?? "ERROR", id: null });
    });
    socket.on("close", () => end(stream, "closed", null));
  });
}

function end(stream, state, code) {
  if (stream.endedAt !== null) return;
  Object.assign(stream, { state, code, endedAt: performance.now() });
}

/** Sends a line, as a client that has something to say; on an echo port it comes back. */
export function write({ id }) {
  get(id).socket.write("ping\n");
  return null;
}

/** What a stream has seen; times in milliseconds before now. */
export function state({ id }) {
  const { bytes, lastAt, state: current, code, endedAt } = get(id);
  const now = performance.now();
  return { state: current, bytes, silentMs: now - lastAt, code, endedMs: endedAt === null ? null : now - endedAt };
}

/** Ends a stream from this side. */
export function close({ id }) {
  get(id).socket.destroy();
  return null;
}

function get(id) {
  const stream = streams.get(id);
  if (stream === undefined) throw new Error(`no stream ${id}`);
  return stream;
}
