// The web servers of the internet side: "hello <name> from <address>", /stream, a line every 100 ms until closed,
// and /sink, which takes a body and says every 50 ms how many bytes of it there were.
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { plainAddress } from "./listeners.mjs";

const maxRecords = 20_000;

/** Returns functions that serve a plain or a TLS connection, and the list of requests seen. */
export function createWeb(tls) {
  const requests = [];
  const handle = (request, response) => {
    const host = (request.headers.host ?? "").replace(/:\d+$/, "");
    const address = plainAddress(request.socket.localAddress);
    if (requests.length < maxRecords) {
      requests.push({
        host,
        path: request.url,
        address,
        port: request.socket.localPort,
        from: plainAddress(request.socket.remoteAddress),
        servername: request.socket.servername || null,
      });
    }
    response.setHeader("content-type", "text/plain");
    if (request.url === "/stream") return stream(response);
    if (request.url === "/sink") return sink(request, response);
    response.end(`hello ${host} from ${address}\n`);
  };
  const plain = createHttpServer(handle);
  const secure = createHttpsServer(tls, handle);
  secure.on("tlsClientError", () => {});
  return {
    plain: (socket) => plain.emit("connection", socket),
    secure: (socket) => secure.emit("connection", socket),
    requests,
  };
}

function sink(request, response) {
  let bytes = 0;
  request.on("data", (data) => {
    bytes += data.length;
  });
  const timer = setInterval(() => response.write(`${bytes}\n`), 50);
  response.on("close", () => clearInterval(timer));
  response.write("0\n");
}

function stream(response) {
  let count = 0;
  const timer = setInterval(() => response.write(`line ${++count}\n`), 100);
  response.on("close", () => clearInterval(timer));
  response.write("line 0\n");
}
