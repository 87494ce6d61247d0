// Calls far-server.mjs with a client certificate: over HTTP/2, then a WebSocket. Prints what came of it as one JSON
// object. Arguments: address, server name, CA, key, certificate.
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";

const [host, servername, ca, key, certificate] = process.argv.slice(2);
const tls = { servername, ca: readFileSync(ca), key: readFileSync(key), cert: readFileSync(certificate) };
const result = { http2: null, trailer: null, webSocket: null, error: null };
const timer = setTimeout(() => done("timeout"), 2_500);

function done(error) {
  clearTimeout(timer);
  console.log(JSON.stringify({ ...result, error }));
  process.exit(0);
}

const session = connectHttp2(`https://${host.includes(":") ? `[${host}]` : host}`, tls);
session.on("error", (error) => done(error.code ?? error.message));
const stream = session.request({ ":path": "/", ":authority": servername });
stream.on("trailers", (trailers) => {
  result.trailer = trailers["grpc-status"];
});
stream.on("data", (data) => {
  result.http2 = `${result.http2 ?? ""}${data}`;
});
stream.on("error", () => {});
stream.on("end", () => {
  session.close();
  callWebSocket();
});

function callWebSocket() {
  const headers = {
    host: servername,
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-key": "AQIDBAUGBwgJCgsMDQ4PEA==",
  };
  const call = request({ ...tls, host, port: 443, agent: false, headers, ALPNProtocols: ["http/1.1"] });
  call.on("error", (error) => done(error.code ?? error.message));
  call.on("upgrade", (_, socket) => {
    // One masked text frame with "hi"; the far end sends back what it gets.
    const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
    socket.on("data", (data) => {
      result.webSocket = data.equals(frame) ? "hi" : data.toString("hex");
      done(null);
    });
    socket.write(frame);
  });
  call.end();
}
