// Speaks HTTP/2, gRPC and WebSocket to a name by TLS with a client certificate, and prints what came of it as JSON.
// node splice-client.mjs <address> <name> <ca> [<key> <certificate>]
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect } from "node:tls";

const [host = "", servername = "", ca = "", key, cert] = process.argv.slice(2);
const credentials = key === undefined ? {} : { key: readFileSync(key), cert: readFileSync(cert) };
const tls = { host, port: 443, servername, ca: readFileSync(ca), ...credentials };
const failAfter = setTimeout(() => process.exit(3), 10_000);

function ask(session, path) {
  return new Promise((resolve, reject) => {
    let text = "";
    const stream = session.request({ ":path": path });
    stream.setEncoding("utf8");
    stream.on("data", (chunk) => (text += chunk));
    stream.on("end", () => resolve(text));
    stream.on("error", reject);
  });
}

function call(session, messages) {
  return new Promise((resolve, reject) => {
    const echoed = [];
    let status = null;
    const stream = session.request({
      ":path": "/lab.Echo/Stream",
      ":method": "POST",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("trailers", (trailers) => (status = trailers["grpc-status"]));
    // Each message waits for the echo of the one before: both directions are open at once.
    stream.on("data", (chunk) => {
      echoed.push(chunk.toString("utf8"));
      const next = messages[echoed.length];
      if (next === undefined) stream.end();
      else stream.write(next);
    });
    stream.on("end", () => resolve({ echoed, status }));
    stream.on("error", reject);
    stream.write(messages[0]);
  });
}

function openWebSocket() {
  return new Promise((resolve, reject) => {
    const headers = {
      ...{ host: servername, connection: "Upgrade", upgrade: "websocket" },
      ...{ "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13" },
    };
    const asking = request({ ...tls, ALPNProtocols: ["http/1.1"], agent: false, headers });
    asking.on("upgrade", (response, socket) => {
      socket.on("data", (chunk) => {
        socket.destroy();
        resolve({ accept: response.headers["sec-websocket-accept"], echoed: chunk.toString("utf8") });
      });
      socket.write("frame");
    });
    asking.on("error", reject);
    asking.end();
  });
}

try {
  const session = connectHttp2(`https://${servername}`, {
    createConnection: () => connect({ ...tls, ALPNProtocols: ["h2"] }),
  });
  const failed = new Promise((_, reject) => session.on("error", reject));
  const paths = Array.from({ length: 20 }, (_, index) => `/${index}`);
  const answers = await Promise.race([failed, Promise.all(paths.map((path) => ask(session, path)))]);
  const grpc = await Promise.race([failed, call(session, ["one", "two", "three"])]);
  session.close();
  console.log(JSON.stringify({ answers, grpc, webSocket: await openWebSocket() }));
} catch (error) {
  console.log(JSON.stringify({ error: error.code ?? String(error) }));
}
clearTimeout(failAfter);
