import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDenyRecords, type DenyRecords } from "../../../agent/gate/deny-records.ts";
import { monotonicMs, nowMs, sleepMs } from "../../../agent/host/clock.ts";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { type Activity, createActivity, noteProxyLine } from "../../../agent/report/agent-memory.ts";
import { describeProxyLine } from "../../../agent/report/proxy-details.ts";
import { parseProxyLine } from "../../../agent/report/proxy-line.ts";
import { openProxyRecords, type ProxyRecords } from "../../../agent/report/proxy-records.ts";
import { policyOf } from "../../support/compile-samples.ts";
import { refuseRecord } from "../../support/deny-records.ts";

const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const lineOf = (n: number, rest: object = {}): string =>
  JSON.stringify({
    ...{ id: idOf(n), at: 1_893_456_000_000, plane: "tls", reason: "allowed", client: "10.0.0.1", clientPort: 4000 },
    ...{ group: "*", name: "a.example.com", address: "192.0.2.1", bytesUp: 1, bytesDown: 2, connectMs: 1, ms: 3 },
    ...{ end: "--", commit: "abcdef0", serial: "41" },
    ...rest,
  });

describe("a line of the proxy", () => {
  test.each<[string, object, object]>([
    ["an allowed flow", { name: "a.example" }, { verdict: "allow", reason: "allowed", name: "a.example" }],
    ["a server out of reach", { connectMs: -1 }, { verdict: "allow", reason: "connect-failed" }],
    ["a denial", { reason: "sni-missing", name: "-", address: "-" }, { verdict: "deny", name: null, address: null }],
    ["a request that is none", { plane: "http", reason: "-" }, { verdict: "deny", reason: "http-malformed" }],
    ["the serial is a number", { serial: "41", commit: "ab" }, { serial: 41, commit: "ab" }],
    ["or nothing", { serial: "-", commit: "-" }, { serial: null, commit: null }],
    ["the name is cut", { name: "x".repeat(5000) }, { name: "x".repeat(1024) }],
  ])("%s", (_title, given, expected) => {
    expect(parseProxyLine(lineOf(1, given))).toMatchObject(expected);
  });

  test.each([
    ...["", "{", "not json", "null", "[]"],
    lineOf(1, { reason: "because" }),
    lineOf(1, { reason: "constructor" }),
    lineOf(1, { plane: "dns" }),
    lineOf(1, { id: "1" }),
    lineOf(1, { at: "now" }),
  ])("%j is none", (line) => {
    expect(parseProxyLine(line)).toBeNull();
  });
});

describe("what a record says beside it", () => {
  const policy = policyOf({
    version: 1,
    allow: { domains: ["a.example.com", { domain: "*.wild.example.com", label: "wild", owner: "team" }] },
    deny: { domains: ["evil.wild.example.com"], ips: ["192.0.2.0/24"] },
    proxy: { mode: "sni-allowlist" },
    hosts: { one: { sources: ["10.0.0.1"] } },
  });
  const decider = buildDecider(policy);

  test.each<[string, object, object]>([
    [
      "a name that almost is allowed",
      { reason: "sni-not-allowed", name: "www.A.example.com." },
      { nearMiss: expect.stringContaining("a.example.com"), rule: { pointer: "/allow/domains/0" }, action: "close" },
    ],
    [
      "a name that deny lists",
      { reason: "denied-explicit", name: "evil.wild.example.com" },
      { nearMiss: expect.stringContaining("evil.wild"), rule: { pointer: "/deny/domains/0" } },
    ],
    [
      "an address that deny lists",
      { reason: "denied-explicit" },
      { nearMiss: expect.stringContaining("resolves to 192.0.2.1"), rule: { pointer: "/deny/ips/0" } },
    ],
    [
      "a private answer",
      { reason: "private-answer", name: "x.wild.example.com", address: "10.0.0.9", plane: "http" },
      { nearMiss: expect.stringContaining("10.0.0.9"), label: "wild", action: "http-status", port: 80 },
    ],
    [
      "what was allowed",
      { name: "x.wild.example.com", address: "198.51.100.1" },
      { label: "wild", notes: { owner: "team" }, nearMiss: null, action: "pass", port: 443, host: "one" },
    ],
    ["no name at all", { reason: "sni-missing", name: "-" }, { nearMiss: null, rule: null, host: "one", name: null }],
  ])("%s", (_title, given, expected) => {
    const line = parseProxyLine(lineOf(1, given));
    if (line === null) throw new Error("no line");
    expect(describeProxyLine(line, decider)).toMatchObject({ commit: "abcdef0", serial: 41, ...expected });
    expect(describeProxyLine(line, null)).toMatchObject({ commit: "abcdef0", rule: null, label: null });
  });
});

describe("following", () => {
  let folder: string;
  let server: Server;
  let denials: DenyRecords;
  let stop: AbortController;
  let activity: Activity;
  const sockets = new Set<Socket>();
  const commands: string[] = [];
  const written: { readonly proxy: { readonly id: string; readonly ech: boolean }; readonly verdict: string }[] = [];
  const denied: string[] = [];
  let lost = 0;

  /** A proxy whose ring holds some lines and gets others while somebody listens. */
  const serve = async (held: () => readonly string[], later: readonly string[] = []): Promise<string> => {
    const path = join(folder, "stats.sock");
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.once("data", (command) => {
        commands.push(command.toString());
        const text = held().map((line) => `${line}\n`);
        if (command.toString() === "show events records\n") return void socket.end(text.join(""));
        socket.write(text.join(""));
        for (const line of later) setTimeout(() => socket.write(`${line.slice(0, 9)}`), 20);
        for (const line of later) setTimeout(() => socket.write(`${line.slice(9)}\n`), 40);
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return path;
  };
  const follow = (
    socketPath: string,
    { lastId = null, known = [], isFull = () => false }: Earlier = {},
  ): { readonly records: ProxyRecords; readonly over: Promise<void> } => {
    const log = {
      append: (line: string): void => {
        if (isFull(line)) throw new Error("full");
        expect(refuseRecord(JSON.parse(line))).toBeNull();
        written.push(JSON.parse(line));
      },
    };
    const onError = (): void => {
      lost += 1;
    };
    denials = createDenyRecords({
      ...{ gateway: "gw-1", planes: ["tls", "http"], log, nowMs, onError },
      monotonicS: () => monotonicMs() / 1_000,
    });
    const records = openProxyRecords({
      onLine: (line) => noteProxyLine(activity, line),
      ...{ gateway: "gw-1", socketPath, ring: "records", denials, log, lastId, known, onError },
      deciderOf: async () => null,
      onDenied: (key) => denied.push(key),
    });
    return { records, over: records.follow(stop.signal) };
  };
  const ids = (): readonly string[] => written.map(({ proxy }) => proxy.id);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "clawgress-records-"));
    stop = new AbortController();
    for (const list of [written, denied, commands]) list.length = 0;
    lost = 0;
    activity = createActivity(0);
  });
  afterEach(async () => {
    stop.abort();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  test("counts hellos with the extension of ECH, and what was ended from outside, once each", async () => {
    const lines = [
      lineOf(1, { ech: "1" }),
      lineOf(2, { ech: "-", end: "KD" }),
      lineOf(3, { ech: "1", end: "CD", reason: "sni-not-allowed" }),
      lineOf(4, { plane: "http", end: "KH" }),
      lineOf(5),
    ];
    follow(await serve(() => lines, [lineOf(1, { ech: "1" }), lineOf(2, { end: "KD" })]));
    await sleepMs(120);
    expect(ids()).toHaveLength(5);
    expect(written.map(({ proxy }) => proxy.ech)).toEqual([true, false, true, false, false]);
    expect(activity).toMatchObject({ echHellos: 2, proxyRevoked: 2 });
  });

  test("writes what the ring holds and what comes, once each, over an end of the connection", async () => {
    const path = await serve(() => [lineOf(1), lineOf(2)], [lineOf(3)]);
    follow(path, { known: [lineOf(1)] });
    await sleepMs(120);
    expect(ids()).toEqual([idOf(2), idOf(3)]);
    for (const socket of sockets) socket.destroy();
    await sleepMs(500);
    expect(sockets.size).toBeGreaterThan(1);
    expect(ids()).toEqual([idOf(2), idOf(3)]);
  });

  test("goes on when a record cannot be written, and waits for a proxy that is not there", async () => {
    const path = join(folder, "stats.sock");
    const { over } = follow(path, { isFull: (line) => line.includes(idOf(1)) });
    await sleepMs(50);
    await serve(() => [lineOf(1), "garbage", lineOf(2)]);
    await sleepMs(500);
    expect(lost).toBe(1);
    expect(ids()).toEqual([idOf(2)]);
    stop.abort();
    await over;
  });

  test("counts every denial and writes within a rate", async () => {
    const flood = Array.from({ length: 500 }, (_, index) => lineOf(index + 1, { reason: "sni-not-allowed" }));
    const { records } = follow(await serve(() => [...flood, lineOf(600)]));
    await sleepMs(200);
    expect(denials.totals().denied).toEqual({ tls: { "sni-not-allowed": 500 }, http: {} });
    expect(written.filter(({ verdict }) => verdict === "deny")).toHaveLength(10);
    expect(ids().at(-1)).toBe(idOf(600));
    expect(denied).toEqual(Array(500).fill("tls 10.0.0.1"));
    expect(records.lastId()).toBe(idOf(600));
  });

  test("counts nothing again that an earlier follower had counted", async () => {
    const held = [1, 2, 3, 4].map((n) => lineOf(n, { reason: "not-tls" }));
    follow(await serve(() => held), { lastId: idOf(3) });
    await sleepMs(150);
    expect(commands.slice(0, 2)).toEqual(["show events records\n", "show events records -w\n"]);
    expect(ids()).toEqual([idOf(4)]);
    expect(denials.totals().denied).toEqual({ tls: { "not-tls": 1 }, http: {} });
  });

  test("counts all when the ring is another one", async () => {
    const held = [1, 2].map((n) => lineOf(n, { reason: "not-tls" }));
    follow(await serve(() => held), { lastId: idOf(99) });
    await sleepMs(150);
    expect(ids()).toEqual([idOf(1), idOf(2)]);
  });
});

interface Earlier {
  readonly lastId?: string | null;
  readonly known?: readonly string[];
  readonly isFull?: (line: string) => boolean;
}
