import { connect, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AnswerQuery } from "../../../agent/gate/answer-queries.ts";
import { listenTcp } from "../../../agent/gate/listen-tcp.ts";
import type { Listener } from "../../../agent/gate/listen-udp.ts";

let listener: Listener;
let port = 0;
let answer: AnswerQuery;
let sockets: Socket[] = [];

const freePort = async (): Promise<number> => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
};

beforeEach(async () => {
  port = await freePort();
  sockets = [];
  listener = await listenTcp(4, port, (message, client, transport) => answer(message, client, transport));
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await listener.close();
});

const open = async (): Promise<Socket> => {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
};
const frame = (text: string): Buffer => Buffer.concat([Buffer.from([0, text.length]), Buffer.from(text)]);
const read = (socket: Socket, bytes: number): Promise<string> =>
  new Promise((resolve) => {
    let all = "";
    socket.on("data", (chunk: Buffer) => {
      all += chunk.toString("latin1");
      if (all.length >= bytes) resolve(all);
    });
  });
const isClosed = (socket: Socket): Promise<boolean> =>
  new Promise((resolve) => {
    socket.resume();
    socket.once("close", () => resolve(true));
    setTimeout(() => resolve(false), 500);
  });

describe("queries of one connection", () => {
  test("are framed, in one piece, in many, or one byte at a time", async () => {
    answer = async (message, client, transport) => Buffer.from(`${message.toString()}/${client}/${transport}`);
    const socket = await open();
    const bytes = Buffer.concat([frame("one"), frame("two")]);
    const reply = read(socket, 38);
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await reply).toBe("\0\x11one/127.0.0.1/tcp\0\x11two/127.0.0.1/tcp");
  });

  test("are answered as they are done, without waiting for one another", async () => {
    answer = async (message) => {
      if (message.toString() === "slow") await new Promise((resolve) => setTimeout(resolve, 100));
      return message;
    };
    const socket = await open();
    const reply = read(socket, 12);
    socket.write(Buffer.concat([frame("slow"), frame("fast")]));
    expect(await reply).toBe("\0\x04fast\0\x04slow");
  });

  test("wait when 32 of them are under way", async () => {
    let underWay = 0;
    let most = 0;
    answer = async (message) => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 20));
      underWay -= 1;
      return message;
    };
    const socket = await open();
    const reply = read(socket, 100 * 3);
    socket.write(Buffer.concat(Array.from({ length: 100 }, () => frame("x"))));
    await reply;
    expect(most).toBe(32);
  });

  test("that get no answer do not block the next", async () => {
    answer = async (message) => (message.toString() === "drop" ? null : message);
    const socket = await open();
    const reply = read(socket, 5);
    socket.write(Buffer.concat([frame("drop"), frame(""), frame("yes")]));
    expect(await reply).toContain("yes");
  });
});

test("a client has at most 32 connections, and a closed one makes room", async () => {
  answer = async (message) => message;
  const many = await Promise.all(Array.from({ length: 32 }, open));
  const reply = read(many[31] ?? (await open()), 3);
  many[31]?.write(frame("x"));
  await reply;
  expect(await isClosed(await open())).toBe(true);
  many[0]?.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const next = await open();
  const second = read(next, 3);
  next.write(frame("y"));
  expect(await second).toBe("\0\x01y");
});

test("a client that does not read its answers is cut off", async () => {
  answer = async () => Buffer.alloc(60_000);
  const socket = await open();
  socket.pause();
  for (let index = 0; index < 400; index++) socket.write(frame("x"));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await isClosed(socket)).toBe(true);
});
