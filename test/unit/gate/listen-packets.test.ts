import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { listenPackets } from "../../../agent/gate/listen-packets.ts";
import type { Listener } from "../../../agent/gate/listen-udp.ts";
import { sleepMs } from "../../../agent/host/clock.ts";

const line = (port: number): string =>
  `${JSON.stringify({ "oob.prefix": "clawgress:forward ", "ip.protocol": 6, src_ip: "10.0.0.1", dest_ip: "192.0.2.1", dest_port: port })}\n`;

let folder: string;
let path: string;
let listener: Listener;
let ports: (number | null)[];
let nowS: number;
const sockets: Socket[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-packets-"));
  path = join(folder, "packets.sock");
  [ports, nowS] = [[], 0];
  listener = await listenPackets(
    path,
    () => nowS,
    ({ destinationPort }) => ports.push(destinationPort),
  );
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listener.close();
  rmSync(folder, { recursive: true });
});

async function open(): Promise<{ readonly socket: Socket; readonly isClosed: () => boolean }> {
  const socket = connect(path);
  sockets.push(socket);
  let isClosed = false;
  socket.on("close", () => {
    isClosed = true;
  });
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  return { socket, isClosed: () => isClosed };
}

async function eventually(isTrue: () => boolean): Promise<void> {
  for (let attempt = 0; !isTrue(); attempt++) {
    if (attempt > 200) throw new Error(`it never came true: ${JSON.stringify(ports).slice(0, 200)}`);
    await sleepMs(5);
  }
}

describe("the socket of refused packets", () => {
  test("is for its own user alone", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("takes lines in whatever pieces they come, and passes over what is none", async () => {
    const { socket } = await open();
    const text = `${line(1)}garbage\n\n{"a":1}\n${line(2)}`;
    socket.write(text.slice(0, 40));
    await sleepMs(20);
    socket.write(text.slice(40));
    await eventually(() => ports.length === 2);
    expect(ports).toEqual([1, 2]);
  });

  test("ends a connection that sends no end of line, and serves the next one", async () => {
    const { socket, isClosed } = await open();
    socket.write("x".repeat(64 * 1024));
    await eventually(isClosed);
    const next = await open();
    next.socket.write(line(3));
    await eventually(() => ports.includes(3));
  });

  test("takes no more than four connections at once", async () => {
    const first = await Promise.all([open(), open(), open(), open()]);
    const fifth = await open();
    await eventually(fifth.isClosed);
    expect(first.some(({ isClosed }) => isClosed())).toBe(false);
  });

  test("reads a bounded number of lines a second", async () => {
    const { socket } = await open();
    socket.write(Array.from({ length: 3000 }, () => line(4)).join(""));
    await eventually(() => ports.length === 1000);
    await sleepMs(50);
    expect(ports).toHaveLength(1000);
    nowS = 1;
    socket.write(line(5));
    await eventually(() => ports.includes(5));
  });
});
