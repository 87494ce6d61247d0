// A server that demands a client certificate and speaks HTTP/2 (gRPC included), HTTP/1.1 and WebSocket.
// node splice-server.mjs <port> <key> <certificate> <client certificate>
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [port = "", key = "", cert = "", client = ""] = process.argv.slice(2);
const server = createSecureServer({
  key: readFileSync(key),
  cert: readFileSync(cert),
  ca: readFileSync(client),
  requestCert: true,
  rejectUnauthorized: true,
  allowHTTP1: true,
});
server.on("stream", (stream, headers) => {
  const name = stream.session.socket.getPeerCertificate().subject.CN;
  if (headers["content-type"] !== "application/grpc") {
    stream.respond({ ":status": 200 });
    return void stream.end(`${headers[":path"]} for ${name}`);
  }
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.pipe(stream);
});
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  socket.write(`${[...head, `Sec-WebSocket-Accept: ${accept}`].join("\r\n")}\r\n\r\n`);
  socket.pipe(socket);
});
server.on("sessionError", () => {});
server.on("tlsClientError", () => {});
server.listen({ port: Number(port), host: "::" }, () => console.log("ready"));
