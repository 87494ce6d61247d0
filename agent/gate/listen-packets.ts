import { createServer, type Socket } from "node:net";
import { listenPrivately } from "../host/listen-privately.ts";
import type { Listener } from "./listen-udp.ts";
import { parsePacketLine, type RefusedPacket } from "./packet-line.ts";

/** A line of ulogd has about 900 bytes. */
const MAX_LINE_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 4;
/** The kernel tells of fewer; who sends more does not keep the gate from its queries. */
const MAX_LINES_PER_S = 1000;

/**
 * Serves the socket that ulogd writes to, one JSON line a packet, and hands on each packet that it can read; returns when
 * it listens. What it cannot read is passed over: the kernel's counters have counted it.
 * @throws AgentError HOST_FILE when the socket cannot be made.
 */
export async function listenPackets(
  socketPath: string,
  nowS: () => number,
  onPacket: (packet: RefusedPacket) => void,
): Promise<Listener> {
  const sockets = new Set<Socket>();
  let second = 0;
  let linesInSecond = 0;
  const mayRead = (): boolean => {
    const now = Math.floor(nowS());
    if (now !== second) [second, linesInSecond] = [now, 0];
    linesInSecond += 1;
    return linesInSecond <= MAX_LINES_PER_S;
  };
  const server = createServer((socket) => {
    if (sockets.size >= MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    let rest = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE_BYTES) socket.destroy();
      for (const line of lines) {
        const packet = mayRead() && line.length <= MAX_LINE_BYTES ? parsePacketLine(line) : null;
        if (packet !== null) onPacket(packet);
      }
    });
    // It connects again by itself.
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await listenPrivately(server, socketPath);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
