// All TCP and UDP sockets of the internet side. One listener a port takes every address; the address that was dialled
// decides who serves the connection.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

/** Returns an address without the prefix that IPv4 has on a dual-stack socket. */
export function plainAddress(address) {
  return (address ?? "").replace(/^::ffff:/, "");
}

/** Hands each connection on a port to `onConnection(socket, localAddress)`; resolves when it listens. */
export function listenTcp(port, onConnection) {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    onConnection(socket, plainAddress(socket.localAddress));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host: "::", backlog: 1024 }, resolve);
  });
}

/** Sends every datagram back to where it came from, from the address it was sent to. */
export function echoUdp(address, port) {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4" });
  socket.on("message", (message, peer) => socket.send(message, peer.port, peer.address, () => {}));
  socket.on("error", () => {});
  return new Promise((resolve) => socket.bind(port, address, resolve));
}

/** Sends back what comes in, until the other side ends. */
export function echoTcp(socket) {
  socket.pipe(socket);
}

/** Takes all that comes in and says every 50 ms how many bytes that were, a line each time. */
export function countTcp(socket) {
  const timer = setInterval(() => socket.write(`${socket.bytesRead}\n`), 50);
  socket.on("close", () => clearInterval(timer));
  socket.resume();
}
