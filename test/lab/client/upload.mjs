// A bulk sender: several connections to the sink, as fast as they go or may. What counts is what the sink says has arrived.
import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

const chunk = Buffer.alloc(64 * 1024, "clawgress ");

/** Sends on `flows` connections for warmUpMs + forMs and resolves with what arrived in the last forMs, kilobits a second. */
export async function upload({ flows, warmUpMs, forMs, atKbps, ...to }) {
  const started = performance.now();
  const opened = await Promise.all(Array.from({ length: flows }, () => open(to)));
  const refused = opened.find(({ outcome }) => outcome !== "connected");
  if (refused !== undefined) {
    for (const { socket } of opened) socket.destroy();
    return { outcome: refused.outcome, code: refused.code, ms: performance.now() - started };
  }
  for (const flow of opened) send(flow, atKbps / flows);
  await sleep(warmUpMs);
  const before = { at: performance.now(), segments: readSegments(), bytes: opened.map((flow) => flow.arrived) };
  await sleep(forMs);
  const tookMs = performance.now() - before.at;
  const segments = readSegments();
  const kbps = opened.map((flow, index) => ((flow.arrived - before.bytes[index]) * 8) / tookMs);
  const ended = opened.filter((flow) => flow.code !== null).length;
  for (const { socket } of opened) socket.destroy();
  return {
    outcome: "connected",
    kbps: kbps.reduce((sum, own) => sum + own, 0),
    flows: kbps,
    ended,
    arrivedBytes: opened.reduce((sum, flow) => sum + flow.arrived, 0),
    retransmitted: (segments.again - before.segments.again) / Math.max(1, segments.sent - before.segments.sent),
    ms: performance.now() - started,
  };
}

/** With `web` the sink is the body of a request, over TLS on port 443. */
function open({ host, port, timeoutMs, source, web, servername, name, ca }) {
  const isSecure = web && port === 443;
  const to = { host, port, ...(source ? { localAddress: source } : {}) };
  const socket = isSecure ? connectTls({ ...to, servername, ca }) : connectTcp(to);
  const flow = { socket, outcome: "timeout", code: null, arrived: 0 };
  let text = "";
  socket.on("data", (data) => {
    const lines = (text + data.toString("latin1")).split("\n");
    text = lines.pop() ?? "";
    // Lines of HTTP end in a carriage return, those of the sink do not.
    flow.arrived = Number(lines.filter((line) => /^[0-9]+$/.test(line)).at(-1) ?? flow.arrived);
  });
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(flow), timeoutMs);
    const finish = (outcome) => {
      clearTimeout(timer);
      flow.outcome = outcome;
      resolve(flow);
    };
    socket.on(isSecure ? "secureConnect" : "connect", () => {
      if (web) socket.write(`POST /sink HTTP/1.1\r\nHost: ${name}\r\nContent-Length: 1000000000000\r\n\r\n`);
      finish("connected");
    });
    socket.on("error", (error) => {
      flow.code = error.code ?? "ERROR";
      finish("refused");
    });
    socket.on("close", () => {
      flow.code ??= "CLOSED";
    });
  });
}

function send({ socket }, atKbps) {
  const started = performance.now();
  let bytes = 0;
  let hasRoom = true;
  const fill = () => {
    while (hasRoom && !socket.destroyed && bytes * 8 < (performance.now() - started) * atKbps) {
      hasRoom = socket.write(chunk);
      bytes += chunk.length;
    }
  };
  socket.on("drain", () => {
    hasRoom = true;
    fill();
  });
  // What is not sent for want of time rather than room.
  const timer = setInterval(fill, 10);
  socket.on("close", () => clearInterval(timer));
  fill();
}

/** TCP segments of this namespace, of both families, since it exists: all that were sent, and those sent again. */
function readSegments() {
  const [names, values] = readFileSync("/proc/self/net/snmp", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("Tcp:"))
    .map((line) => line.split(" "));
  const count = (name) => Number(values[names.indexOf(name)]);
  return { sent: count("OutSegs") + count("RetransSegs"), again: count("RetransSegs") };
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
