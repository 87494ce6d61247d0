// The clients' end of flows. Call: open({ id, kind, host, port, servername }), of the kinds tcp, udp and tls.
import { createSocket } from "node:dgram";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { begin, end, hear, onLines, serve } from "./ends.mjs";

/** Resolves when the first message has come back. */
function open(params) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no answer for ${JSON.stringify(params)}`)),
      5_000 * Number(process.env.TEST_PATIENCE ?? 1),
    );
    const isOpen = () => {
      clearTimeout(timer);
      resolve(null);
    };
    if (params.kind === "udp") openUdp(params, isOpen);
    else openTcp(params, isOpen);
  });
}

function openUdp({ id, host, port }, isOpen) {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  // An error that a router sends back comes with the next message; the flow is tried on.
  socket.on("error", (error) => end(flow, error.code));
  let isConnected = false;
  const flow = begin(id, (text) => isConnected && socket.send(text, (error) => error && end(flow, error.code)));
  socket.on("message", (message) => {
    hear(flow, String(message));
    isOpen();
  });
  socket.connect(port, host, () => {
    isConnected = true;
  });
}

function openTcp({ id, kind, host, port, servername }, isOpen) {
  const to = { host, port };
  const socket = kind === "tls" ? connectTls({ ...to, servername, rejectUnauthorized: false }) : connectTcp(to);
  socket.setNoDelay(true);
  socket.on(kind === "tls" ? "secureConnect" : "connect", () => {
    const flow = begin(id, (text) => socket.writable && socket.write(`${text}\n`));
    onLines(socket, (line) => {
      hear(flow, line);
      isOpen();
    });
    socket.on("error", (error) => end(flow, error.code));
    socket.on("close", () => end(flow, "closed"));
  });
  socket.on("error", () => {});
}

serve({ open });
