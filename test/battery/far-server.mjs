// A server that asks its clients for a certificate and speaks HTTP/2 (also with trailers, as gRPC does) and WebSocket.
// Arguments: port, key, certificate, CA of the clients. Prints "ready".

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [port, key, certificate, clientCa] = process.argv.slice(2);
const server = createSecureServer({
  key: readFileSync(key),
  cert: readFileSync(certificate),
  ca: readFileSync(clientCa),
  requestCert: true,
  rejectUnauthorized: true,
  allowHTTP1: true,
});
server.on("stream", (stream) => {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(stream.session.socket.getPeerCertificate().subject.CN);
});
server.on("upgrade", (request, socket) => {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.pipe(socket);
});
for (const event of ["tlsClientError", "sessionError", "error"]) server.on(event, () => {});
server.listen({ port: Number(port), host: "::" }, () => console.log("ready"));
