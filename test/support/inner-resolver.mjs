// A resolver of an inner zone: answers every question for A with one address, and prints the names that it was asked.
// node inner-resolver.mjs <listen address> <answered address>
import { createSocket } from "node:dgram";

const [listen = "", answered = ""] = process.argv.slice(2);
const socket = createSocket("udp4");
socket.on("message", (query, from) => {
  const labels = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  const isA = query.readUInt16BE(at + 1) === 1;
  console.log(labels.join(".").toLowerCase());
  const head = Buffer.from(query.subarray(0, 12));
  head.writeUInt16BE(0x8580, 2);
  head.writeUInt16BE(isA ? 1 : 0, 6);
  head.writeUInt16BE(0, 8);
  head.writeUInt16BE(0, 10);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...answered.split(".").map(Number)]);
  socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...(isA ? [record] : [])]), from.port, from.address);
});
socket.bind(53, listen);
