import { createSocket, type Socket } from "node:dgram";
import type { AnswerQuery } from "./answer-queries.ts";

const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

/** Something that listens, until it is closed. */
export interface Listener {
  close(): Promise<void>;
}

/** Returns a UDP listener once it is bound. @throws Error of the system when the port is taken. */
export async function listenUdp(family: 4 | 6, port: number, answer: AnswerQuery): Promise<Listener> {
  const socket = createSocket({ type: family === 4 ? "udp4" : "udp6", ipv6Only: family === 6 });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, family === 4 ? "0.0.0.0" : "::", () => {
      socket.off("error", reject);
      resolve();
    });
  });
  growBuffers(socket);
  // A receive error concerns one datagram (an ICMP error of a client that went away); the socket goes on.
  socket.on("error", () => {});
  let isOpen = true;
  socket.on("message", (message, { address, port: clientPort }) => {
    if (clientPort === 0) return;
    void answer(message, withoutScope(address), "udp").then((reply) => {
      // Errors of sending are the client's loss: it asks again.
      if (reply !== null && isOpen) socket.send(reply, clientPort, address, () => {});
    });
  });
  return {
    close: () =>
      new Promise((resolve) => {
        isOpen = false;
        socket.close(() => resolve());
      }),
  };
}

/** Returns an address without the interface that a link-local one carries: `fe80::1%eth0`. */
export function withoutScope(address: string): string {
  const scope = address.indexOf("%");
  return scope < 0 ? address : address.slice(0, scope);
}

function growBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch {
    // The system's limit is lower: bursts are lost sooner, nothing else.
  }
}
