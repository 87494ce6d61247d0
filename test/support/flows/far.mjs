// The internet's end of flows: TCP, UDP and TLS on the ports of its arguments, then key and certificate of TLS. What speaks
// is spoken to from then on, asked or not.
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer as createTcpServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { begin, end, hear, onLines, serve } from "./ends.mjs";

const [tcpPort, udpPort, tlsPort, key, certificate] = process.argv.slice(2);
const idOf = (message) => message.split(" ")[0];

function take(socket) {
  let flow = null;
  onLines(socket, (line) => {
    flow ??= begin(idOf(line), (text) => socket.writable && socket.write(`${text}\n`));
    hear(flow, line);
  });
  socket.on("error", (error) => flow && end(flow, error.code));
  socket.on("close", () => flow && end(flow, "closed"));
}

const udp = createSocket("udp6");
const flows = new Map();
udp.on("message", (bytes, { port, address }) => {
  const message = String(bytes);
  const id = idOf(message);
  if (!flows.has(id))
    flows.set(
      id,
      begin(id, (text) => udp.send(text, port, address, () => {})),
    );
  hear(flows.get(id), message);
});
udp.on("error", () => {});
udp.bind(Number(udpPort), "::");

createTcpServer({ noDelay: true }, take).listen({ port: Number(tcpPort), host: "::" });
const tls = createTlsServer({ key: readFileSync(key), cert: readFileSync(certificate), noDelay: true }, take);
tls.on("tlsClientError", () => {});
tls.listen({ port: Number(tlsPort), host: "::" });

serve({});
