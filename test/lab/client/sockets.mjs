// TCP, TLS, HTTP and UDP probes: each resolves with an outcome and the time it took, and never rejects.
import { createSocket } from "node:dgram";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect as connectTcp } from "node:net";
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

/** Connects, shakes hands and closes again; `authorized` tells whether the certificate is good for the name. */
export function tls({ host, port, servername, ca, timeoutMs }) {
  return timed(timeoutMs, (finish) => {
    const socket = connectTls({ host, port, servername, ca, rejectUnauthorized: false });
    let connected = false;
    socket.on("connect", () => {
      connected = true;
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

/** Sends one GET on a connection of its own and resolves with status and body. */
export function get({ host, port, secure, servername, name, path, ca, timeoutMs }) {
  return timed(timeoutMs, (finish) => {
    const options = { host, port, path, agent: false, headers: { host: name } };
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
