// TCP, TLS, HTTP and UDP probes: each resolves with an outcome and the time it took, and never rejects.
import { createSocket } from "node:dgram";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect as connectTcp } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";

/** Connects and closes again. */
export function connect({ host, port, timeoutMs, source }) {
  return timed(timeoutMs, (finish) => {
    const socket = connectTcp({ host, port, ...(source ? { localAddress: source } : {}) });
    socket.on("connect", () => finish({ outcome: "connected" }));
    socket.on("error", (error) => finish(failure(error)));
    return () => socket.destroy();
  });
}

/**
 * Connects, shakes hands and closes again; `authorized` tells whether the certificate is good for the name. `hello` cuts
 * the ClientHello into TCP segments or TLS records of so many bytes, or makes it longer by so many.
 */
export function tls({ host, port, servername, ca, timeoutMs, hello, source }) {
  return timed(timeoutMs, (finish) => {
    const transport = connectTcp({ host, port, noDelay: true, ...(source ? { localAddress: source } : {}) });
    let connected = false;
    transport.on("connect", () => {
      connected = true;
    });
    transport.on("error", (error) => finish(connected ? { outcome: "reset", code: error.code } : failure(error)));
    const ALPNProtocols = hello?.extraBytes ? longProtocols(hello.extraBytes) : undefined;
    const socket = connectTls({
      socket: hello ? shapeHello(transport, hello) : transport,
      servername,
      ca,
      rejectUnauthorized: false,
      ...(ALPNProtocols ? { ALPNProtocols } : {}),
    });
    socket.on("secureConnect", () =>
      finish({
        outcome: "connected",
        authorized: socket.authorized,
        error: socket.authorized ? null : String(socket.authorizationError),
      }),
    );
    socket.on("error", (error) =>
      finish(connected ? { outcome: "reset", code: error.code ?? "ERROR" } : failure(error)),
    );
    return () => socket.destroy();
  });
}

/** Sends bytes (base64) and resolves with all that comes back until the far end closes: `closed`, or `reset` by an error. */
export function exchange({ host, port, payload, timeoutMs }) {
  return timed(timeoutMs, (finish) => {
    const socket = connectTcp({ host, port });
    const chunks = [];
    let connected = false;
    const data = () => Buffer.concat(chunks).toString("latin1");
    socket.on("connect", () => {
      connected = true;
      socket.write(Buffer.from(payload, "base64"));
    });
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("end", () => finish({ outcome: "closed", data: data() }));
    socket.on("error", (error) =>
      finish(connected ? { outcome: "reset", code: error.code ?? "ERROR", data: data() } : failure(error)),
    );
    return () => socket.destroy();
  });
}

/** Sends one GET on a connection of its own and resolves with status and body. */
export function get({ host, port, secure, servername, name, path, ca, timeoutMs, source }) {
  return timed(timeoutMs, (finish) => {
    const options = {
      host,
      port,
      path,
      agent: false,
      headers: { host: name },
      ...(source ? { localAddress: source } : {}),
    };
    const request = secure ? httpsRequest({ ...options, servername, ca }) : httpRequest(options);
    let connected = false;
    request.on("socket", (socket) => {
      socket.on("connect", () => {
        connected = true;
      });
    });
    request.on("error", (error) =>
      finish(connected ? { outcome: "reset", code: error.code ?? "ERROR" } : failure(error)),
    );
    request.on("response", (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", (error) => finish({ outcome: "reset", code: error.code ?? "ERROR" }));
      response.on("end", () =>
        finish({ outcome: "connected", status: response.statusCode, body: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    request.end();
    return () => request.destroy();
  });
}

/** Sends a datagram and waits for one back. */
export function udp({ host, port, payload, timeoutMs, source }) {
  return timed(timeoutMs, (finish) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.on("error", (error) => finish(failure(error)));
    socket.on("message", (message) => finish({ outcome: "answered", data: message.toString("latin1") }));
    const send = () =>
      socket.connect(port, host, () => socket.send(payload, (error) => error && finish(failure(error))));
    if (source) socket.bind({ address: source }, send);
    else send();
    return () => socket.close();
  });
}

/** The protocol that web servers speak, after others that nobody does, of about so many bytes together. */
function longProtocols(bytes) {
  const unknown = Array.from({ length: Math.ceil(bytes / 50) }, (_, index) => `lab/${index}/`.padEnd(49, "x"));
  return [...unknown, "http/1.1"];
}

/** A stream over a connection that cuts the first write, which is the ClientHello; all else goes through as it is. */
function shapeHello(transport, { segmentBytes, recordBytes }) {
  let isFirst = true;
  const stream = new Duplex({
    read: () => transport.resume(),
    write(chunk, _encoding, done) {
      if (!isFirst) return void transport.write(chunk, done);
      isFirst = false;
      const bytes = recordBytes ? cutRecord(chunk, recordBytes) : chunk;
      void writePieces(transport, bytes, segmentBytes ?? bytes.length).then(() => done(), done);
    },
    final: (done) => transport.end(done),
    destroy: (error, done) => {
      transport.destroy();
      done(error);
    },
  });
  transport.on("data", (chunk) => stream.push(chunk) || transport.pause());
  transport.on("end", () => stream.push(null));
  transport.on("error", (error) => stream.destroy(error));
  return stream;
}

/** The same handshake message in records of so many bytes, each with the head of the one record that it was in. */
function cutRecord(record, bytes) {
  const parts = [];
  for (let at = 5; at < record.length; at += bytes) {
    const body = record.subarray(at, at + bytes);
    const head = Buffer.from(record.subarray(0, 5));
    head.writeUInt16BE(body.length, 3);
    parts.push(head, body);
  }
  return Buffer.concat(parts);
}

async function writePieces(transport, bytes, size) {
  for (let at = 0; at < bytes.length; at += size) {
    await new Promise((resolve, reject) =>
      transport.write(bytes.subarray(at, at + size), (error) => (error ? reject(error) : setTimeout(resolve, 1))),
    );
  }
}

/** ETIMEDOUT is the kernel giving up; every other error is somebody's answer (RST, ICMP) or a missing local route. */
function failure(error) {
  const code = error.code ?? "ERROR";
  return code === "ETIMEDOUT" ? { outcome: "timeout" } : { outcome: "refused", code };
}

function timed(timeoutMs, begin) {
  return new Promise((resolve) => {
    const started = performance.now();
    let close = () => {};
    let done = false;
    const finish = (result) => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      close();
      resolve({ ...result, ms: performance.now() - started });
    };
    const timer = setTimeout(() => finish({ outcome: "timeout" }), timeoutMs);
    close = begin(finish);
    if (done) close();
  });
}
