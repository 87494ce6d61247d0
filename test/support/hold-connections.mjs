// Connects from each of several addresses, sends the same bytes each time, and holds what stays open until it is killed.
// Prints once that every connection has had its fate: {"held", "refused", "slowestRefusalMs"}.
// node hold-connections.mjs <address> <port> <bytes in base64> <connections of each> <source,source,...>
import { connect } from "node:net";

const [host = "", port = "", payload = "", each = "", sources = ""] = process.argv.slice(2);
const bytes = Buffer.from(payload, "base64");
const SIDE_BY_SIDE = 200;
let refused = 0;
let slowestRefusalMs = 0;
let held = 0;

/** Resolves when a connection is refused, or its far side has spoken. */
function openOne(localAddress) {
  return new Promise((resolve) => {
    const beganMs = performance.now();
    let isHeld = false;
    const socket = connect({ host, port: Number(port), localAddress }, () => {
      socket.write(bytes);
    });
    socket.once("data", () => {
      isHeld = true;
      held += 1;
      resolve();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      if (isHeld) return;
      slowestRefusalMs = Math.max(slowestRefusalMs, performance.now() - beganMs);
      refused += 1;
      resolve();
    });
  });
}

const all = sources.split(",").flatMap((source) => Array(Number(each)).fill(source));
let next = 0;
async function work() {
  while (next < all.length) await openOne(all[next++]);
}
await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));
console.log(JSON.stringify({ held, refused, slowestRefusalMs: Math.round(slowestRefusalMs) }));
setInterval(() => {}, 60_000);
