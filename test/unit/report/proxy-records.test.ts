import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sleepMs } from "../../../agent/host/clock.ts";
import { proxyReasons } from "../../../agent/policy/reasons.ts";
import { describeRecord, followProxyRecords } from "../../../agent/report/proxy-records.ts";
import { proxyRecordReasons } from "../../support/proxy-records.ts";

const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const lineOf = (n: number, rest: object = {}): string =>
  JSON.stringify({ id: idOf(n), ts: "2030-01-01T00:00:00Z", plane: "tls", reason: "allowed", connectMs: 1, ...rest });

describe("a record", () => {
  test.each<[string, object, object]>([
    ["an allowed flow", { name: "a.example" }, { verdict: "allow", reason: "allowed", name: "a.example" }],
    ["a server out of reach", { connectMs: -1 }, { verdict: "allow", reason: "connect-failed" }],
    ["a denial", { reason: "sni-missing", name: "-", address: "-" }, { verdict: "deny", name: null, address: null }],
    ["a request that is none", { plane: "http", reason: "-" }, { verdict: "deny", reason: "http-malformed" }],
    ["the serial is a number", { serial: "41", commit: "ab" }, { serial: 41, commit: "ab" }],
    ["or nothing", { serial: "-", commit: "-" }, { serial: null, commit: null }],
  ])("%s", (_title, given, expected) => {
    const record = describeRecord(lineOf(1, given), "gw-1");
    expect(JSON.parse(record ?? "")).toMatchObject({ gateway: "gw-1", ...expected });
  });

  test.each(["", "{", "not json", "null"])("%j is none", (line) => {
    expect(describeRecord(line, "gw-1")).toBeNull();
  });
});

test("the published schema lists the program's reasons, and no other", () => {
  expect([...proxyRecordReasons].sort()).toEqual([...Object.keys(proxyReasons), "private-answer"].sort());
});

describe("following", () => {
  let folder: string;
  let server: Server;
  const sockets = new Set<Socket>();
  const written: string[] = [];
  const stop = new AbortController();

  /** A proxy whose ring holds some lines and gets others while somebody listens. */
  const serve = async (held: () => readonly string[], later: readonly string[]): Promise<string> => {
    const path = join(folder, "stats.sock");
    server = createServer((socket) => {
      sockets.add(socket);
      socket.once("data", (command) => {
        expect(command.toString()).toBe("show events records -w\n");
        socket.write(
          held()
            .map((line) => `${line}\n`)
            .join(""),
        );
        for (const line of later) setTimeout(() => socket.write(`${line.slice(0, 9)}`), 20);
        for (const line of later) setTimeout(() => socket.write(`${line.slice(9)}\n`), 40);
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return path;
  };
  const follow = (socketPath: string, known: readonly string[], append = (line: string) => void written.push(line)) =>
    followProxyRecords(
      {
        ...{ gateway: "gw-1", socketPath, ring: "records", known, onError: () => void written.push("lost") },
        log: { append, rewrite: () => {}, close: () => {} },
      },
      stop.signal,
    );
  const ids = (): readonly string[] => written.map((line) => (JSON.parse(line) as { id: string }).id);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "clawgress-records-"));
    written.length = 0;
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  test("writes what the ring holds and what comes, once each, over an end of the connection", async () => {
    const path = await serve(() => [lineOf(1), lineOf(2)], [lineOf(3)]);
    const following = follow(path, [lineOf(1)]);
    await sleepMs(120);
    expect(ids()).toEqual([idOf(2), idOf(3)]);
    for (const socket of sockets) socket.destroy();
    await sleepMs(500);
    expect(sockets.size).toBeGreaterThan(1);
    expect(ids()).toEqual([idOf(2), idOf(3)]);
    void following;
  });

  test("goes on when a record cannot be written, and waits for a proxy that is not there", async () => {
    const path = join(folder, "stats.sock");
    const following = follow(path, [], (line) => {
      if (line.includes(idOf(1))) throw new Error("full");
      written.push(line);
    });
    await sleepMs(50);
    await serve(() => [lineOf(1), "garbage", lineOf(2)], []);
    await sleepMs(500);
    expect(written[0]).toBe("lost");
    expect(JSON.parse(written[1] ?? "")).toMatchObject({ id: idOf(2) });
    stop.abort();
    await following;
  });
});
