import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openUpstream, type Upstream } from "../../../agent/gate/upstream.ts";
import { encodeName } from "../../../agent/gate/wire.ts";
import type { Question } from "../../../agent/gate/wire-query.ts";

const question: Question = { nameBytes: encodeName("api.test"), type: 1, dnssecOk: false, checkingDisabled: false };
type Reply = (query: Buffer, from: RemoteInfo, count: number) => void;

let server: Socket;
let upstream: Upstream;
let reply: Reply;
let asked = 0;

beforeEach(async () => {
  asked = 0;
  server = createSocket("udp4");
  server.on("message", (query, from) => reply(query, from, ++asked));
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const { port } = server.address();
  upstream = await openUpstream({ address: "127.0.0.1", port, timeoutMs: 150, maxInFlight: 4 });
});

afterEach(async () => {
  upstream.close();
  await new Promise<void>((resolve) => server.close(() => resolve()));
});

const answerTo = (query: Buffer): Buffer => {
  const answer = Buffer.from(query);
  answer.writeUInt16BE(0x8180, 2);
  return answer;
};
const send = (message: Buffer, from: RemoteInfo): void => server.send(message, from.port, from.address);

describe("an answer is taken", () => {
  test("when id, question and source are the ones that were asked", async () => {
    reply = (query, from) => send(answerTo(query), from);
    expect((await upstream.ask(question, "udp"))?.readUInt16BE(2)).toBe(0x8180);
    expect(asked).toBe(1);
  });

  test("on the second try, when the first was lost", async () => {
    reply = (query, from, count) => {
      if (count === 2) send(answerTo(query), from);
    };
    expect(await upstream.ask(question, "udp")).not.toBeNull();
  });
});

describe("an answer is not taken", () => {
  test.each<[string, (query: Buffer) => Buffer]>([
    [
      "with another id",
      (query) => Buffer.concat([Buffer.from([query[0] ?? 0, (query[1] ?? 0) ^ 1]), answerTo(query).subarray(2)]),
    ],
    ["that is a query", (query) => query],
    ["to another name", (query) => Buffer.from(answerTo(query).toString("latin1").replace("api", "apj"), "latin1")],
    [
      "with the name in another case",
      (query) => Buffer.from(answerTo(query).toString("latin1").replace("api", "Api"), "latin1"),
    ],
    ["that is cut off", (query) => answerTo(query).subarray(0, 13)],
    ["that is no message", () => Buffer.from([1])],
  ])("%s", async (_what, spoil) => {
    reply = (query, from) => send(spoil(query), from);
    expect(await upstream.ask(question, "udp")).toBeNull();
    expect(asked).toBe(2);
  });

  test("from another port", async () => {
    const other = createSocket("udp4");
    reply = (query, from) => other.send(answerTo(query), from.port, from.address);
    expect(await upstream.ask(question, "udp")).toBeNull();
    await new Promise<void>((resolve) => other.close(() => resolve()));
  });
});

test("over the bound of questions under way none is asked", async () => {
  reply = () => {};
  const waiting = [1, 2, 3, 4].map(() => upstream.ask(question, "udp"));
  expect(upstream.inFlight()).toBe(4);
  const startMs = performance.now();
  expect(await upstream.ask(question, "udp")).toBeNull();
  expect(performance.now() - startMs).toBeLessThan(100);
  expect(await Promise.all(waiting)).toEqual([null, null, null, null]);
  expect(upstream.inFlight()).toBe(0);
});

test.each(["udp", "tcp"] as const)(
  "nobody there is told at once over %s, not after the time limit",
  async (transport) => {
    const closed = createSocket("udp4");
    await new Promise<void>((resolve) => closed.bind(0, "127.0.0.1", resolve));
    const { port } = closed.address();
    await new Promise<void>((resolve) => closed.close(() => resolve()));
    const nobody = await openUpstream({ address: "127.0.0.1", port, timeoutMs: 5000, maxInFlight: 4 });
    const startMs = performance.now();
    expect(await nobody.ask(question, transport)).toBeNull();
    expect(performance.now() - startMs).toBeLessThan(2000);
    nobody.close();
  },
);
