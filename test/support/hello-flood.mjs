// Connects again and again, sends the same bytes each time, waits for the end, and prints how often it did.
// node hello-flood.mjs <address> <port> <bytes in base64> <seconds> <connections at once>
import { connect } from "node:net";

const [host = "", port = "", payload = "", seconds = "", width = ""] = process.argv.slice(2);
const bytes = Buffer.from(payload, "base64");
const endMs = performance.now() + Number(seconds) * 1_000;
let sent = 0;

async function runOne() {
  while (performance.now() < endMs) {
    await new Promise((resolve) => {
      const socket = connect({ host, port: Number(port) }, () => socket.write(bytes, () => (sent += 1)));
      socket.on("error", () => {});
      socket.on("close", resolve);
      socket.resume();
    });
  }
}

await Promise.all(Array.from({ length: Number(width) }, runOne));
console.log(sent);
