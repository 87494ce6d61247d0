import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { deflateSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { nameOf } from "../../../agent/source/pack-index.ts";
import { bundleScript } from "../../support/bundle-script.ts";
import type { Attempt } from "../../support/fetch-child.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, type Intercept, startGitServer } from "../../support/git-server.ts";
import {
  buildPack,
  copyDelta,
  frameShallowAnswer,
  PACK_TYPES,
  type PackEntry,
  withTrailer,
} from "../../support/pack-builder.ts";

/**
 * What a hostile server or repository can make a process of ours cost, measured from outside: each attack meets a child of its
 * own, which must stay within 256 MB and its time, say what is wrong, and read the honest repository right after it.
 */

const MAX_RSS_BYTES = 256 * 1024 * 1024;
const RESULT = { "content-type": "application/x-git-upload-pack-result" };
const { blob, tree, commit, ofsDelta } = PACK_TYPES;
let script: string;
let repository: TestRepository;
let server: GitTestServer;
let head: string;

beforeAll(async () => {
  script = await bundleScript("fetch-child");
  repository = makeRepository();
  server = await startGitServer(repository.folder);
});
beforeEach(() => {
  server.intercept = null;
  head = repository.commitFiles({ "policy.json": "{}" }, { orphan: true });
});
afterAll(async () => {
  await server.close();
  rmSync(dirname(script), { recursive: true });
  rmSync(repository.folder, { recursive: true });
});

interface Child {
  attempt(): Promise<Attempt>;
  stop(): Promise<void>;
}

function startChild(timeoutMs: number): Child {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-hostile-"));
  const argv = [script, server.url, join(folder, "git"), String(timeoutMs)];
  const child: ChildProcess = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"] });
  if (child.stdout === null || child.stdin === null) throw new Error("no pipes");
  const { stdin } = child;
  const lines: Interface = createInterface({ input: child.stdout });
  const ended = new Promise<never>((_, reject) =>
    child.once("exit", (code) => reject(new Error(`ended with ${code}`))),
  );
  ended.catch(() => {});
  return {
    attempt: async () => {
      const answer = new Promise<string>((resolve) => lines.once("line", resolve));
      stdin.write("\n");
      return JSON.parse(await Promise.race([answer, ended])) as Attempt;
    },
    stop: async () => {
      const closed = new Promise((resolve) => child.once("exit", resolve));
      stdin.end();
      await closed;
      rmSync(folder, { recursive: true });
    },
  };
}

const packet = (data: Buffer): Buffer =>
  Buffer.concat([Buffer.from((data.length + 4).toString(16).padStart(4, "0")), data]);

/** Answers the fetch, and not the poll before it. */
const onFetch =
  (answer: Intercept): Intercept =>
  (exchange) =>
    exchange.request.headers["git-protocol"] === undefined ? answer(exchange) : false;
/** Announces the head that the pack is for, and sends it. */
const sendPack = (make: () => Buffer): Intercept => {
  const pack = make();
  const list = Buffer.concat([packet(Buffer.from(`${head} refs/heads/main\n`)), Buffer.from("0000")]);
  return ({ request, send }) => {
    const isPoll = request.headers["git-protocol"] !== undefined;
    send({ status: 200, headers: RESULT, body: isPoll ? list : frameShallowAnswer(head, pack) });
    return true;
  };
};
/** Writes the same bytes again and again, at most so many. */
const flood = (start: string, chunk: Buffer, bytes = Number.POSITIVE_INFINITY): Intercept =>
  onFetch(({ response }) => {
    response.writeHead(200, RESULT);
    response.write(start);
    let sent = 0;
    const write = (): void => {
      while (!response.destroyed && sent < bytes) {
        sent += chunk.length;
        if (!response.write(chunk)) return void response.once("drain", write);
      }
      if (!response.destroyed) response.end();
    };
    write();
    return true;
  });
const entry = (type: number, data: Buffer): PackEntry => ({ type, data });
const zeros = (bytes: number, count: number): readonly PackEntry[] => {
  const compressed = deflateSync(Buffer.alloc(bytes));
  return Array.from({ length: count }, () => ({ type: blob, data: Buffer.alloc(0), declaredBytes: bytes, compressed }));
};
const MIB = 1024 * 1024;

type Row = readonly [name: string, attack: () => Intercept, outcome: RegExp, maxMs: number];
const attacks: readonly Row[] = [
  ["GC6 a blob of 18 MiB", () => realBlob(18 * MIB), /^SOURCE_TOO_LARGE$/, 10_000],
  ["GC6 500 MB of zeros in half a megabyte", () => sendPack(() => buildPack(zeros(500 * MIB, 1))), /TOO_LARGE/, 5_000],
  ["GC6 twelve objects at the limit", () => sendPack(() => buildPack(zeros(16 * MIB, 11))), /PROTOCOL/, 20_000],
  ["GC6 two hundred objects at the limit", () => sendPack(() => buildPack(zeros(16 * MIB, 200))), /TOO_LARGE/, 20_000],
  [
    "GC6 an object that inflates to more than it says",
    () =>
      sendPack(() =>
        buildPack([{ ...entry(blob, Buffer.alloc(10)), compressed: deflateSync(Buffer.alloc(200 * MIB)) }]),
      ),
    /PROTOCOL/,
    5_000,
  ],
  [
    "GC6 four billion objects announced",
    () => sendPack(() => withTrailer(Buffer.from("5041434b00000002ffffffff", "hex"))),
    /TOO_LARGE/,
    5_000,
  ],
  ["GC6 a million small files", () => sendPack(() => buildPack(small(1_000), 1_000_000)), /TOO_LARGE/, 10_000],
  ["GC6 a tree 74,990 deep, as many objects as are taken", () => sendPack(deepTree), /^read nothing$/, 40_000],
  ["GC6 a tree of more entries than are read", () => sendPack(wideTree), /TOO_LARGE/, 20_000],
  ["GC6 a chain of 5,000 deltas", () => sendPack(() => buildPack(chain(5_000, 100))), /TOO_LARGE/, 5_000],
  [
    "GC6 256 deltas of half a megabyte each",
    () => sendPack(() => buildPack(chain(255, MIB / 2))),
    /PROTOCOL|TOO_LARGE/,
    40_000,
  ],
  [
    "GC6 a delta that builds 16 MB byte by byte",
    () => sendPack(() => buildPack([entry(blob, Buffer.alloc(1)), byteDelta(4 * MIB)])),
    /PROTOCOL/,
    20_000,
  ],
  ["GD2 an endless body of progress", () => flood("0008NAK\n", packet(Buffer.alloc(60_000, 2))), /TOO_LARGE/, 20_000],
  ["GD2 an endless pack", () => flood("0008NAK\n", packet(Buffer.alloc(60_000, 1))), /TOO_LARGE/, 20_000],
  [
    "GD2 a pack in packets of one byte",
    () => flood("0008NAK\n", Buffer.concat(Array.from({ length: 10_000 }, () => packet(Buffer.of(1, 80)))), 18 * MIB),
    /PROTOCOL|TOO_LARGE/,
    30_000,
  ],
  [
    "GD2 endless shallow lines",
    () => flood("", packet(Buffer.from(`shallow ${"1".repeat(40)}\n`))),
    /PROTOCOL/,
    10_000,
  ],
  ["GD2 an endless list of branches", () => endlessRefs, /TOO_LARGE/, 10_000],
  ["GD8 random bytes for a pack", () => sendPack(() => withTrailer(randomBytes(8 * MIB))), /PROTOCOL/, 5_000],
];

test.each(attacks)(
  "%s",
  // What is garbage already is given back when the collector comes to it, which a busy machine delays.
  { timeout: 120_000, retry: 2 },
  async (_, attack, outcome, maxMs) => {
    const child = startChild(60_000);
    try {
      server.intercept = attack();
      const bad = await child.attempt();
      expect(bad.outcome).toMatch(outcome);
      if (!bad.outcome.startsWith("read")) expect(bad.message.length).toBeGreaterThan(20);
      expect(bad.maxRssBytes).toBeLessThan(MAX_RSS_BYTES);
      expect(bad.tookMs).toBeLessThan(maxMs);
      server.intercept = null;
      head = repository.commitFiles({ "policy.json": "{}" }, { orphan: true });
      const good = await child.attempt();
      expect(good).toMatchObject({ outcome: "read 2" });
      if (process.env["SHOW_COSTS"] !== undefined) {
        console.log(`${_}: ${bad.outcome}, ${bad.tookMs} ms, ${Math.round(bad.maxRssBytes / 1e6)} MB: ${bad.message}`);
      }
    } finally {
      server.intercept = null;
      await child.stop();
    }
  },
);

/** A real repository of Git's with a large file that does not compress. */
function realBlob(bytes: number): Intercept {
  repository.commitFiles({ "policy.json": randomBytes(bytes) }, { orphan: true });
  return () => false;
}

function endlessRefs({ response }: Parameters<Intercept>[0]): boolean {
  response.writeHead(200, RESULT);
  const line = packet(Buffer.from(`${"1".repeat(40)} refs/heads/main-${"x".repeat(200)}\n`));
  const write = (): void => {
    while (!response.destroyed && response.write(line));
    if (!response.destroyed) response.once("drain", write);
  };
  write();
  return true;
}

function small(count: number): readonly PackEntry[] {
  const compressed = deflateSync(Buffer.from("x"));
  return Array.from({ length: count }, () => ({ type: blob, data: Buffer.of(1), compressed }));
}

function chain(length: number, bytes: number): readonly PackEntry[] {
  const copies = Math.max(1, Math.ceil(bytes / 65_536));
  const base = bytes / copies;
  const link = (index: number): PackEntry => ({
    ...{ type: ofsDelta, base: index },
    data: index === 0 ? copyDelta(base, base * copies, copies) : wholeCopy(base, copies),
  });
  return [entry(blob, Buffer.alloc(base, "x")), ...Array.from({ length }, (_, index) => link(index))];
}

/** A delta that copies a base of `copies` blocks block by block. */
function wholeCopy(block: number, copies: number): Buffer {
  const sizes = copyDelta(block * copies, block * copies, 0);
  const parts = Array.from({ length: copies }, (_, index) => {
    const from = index * block;
    const size = block === 65_536 ? 0 : block;
    return Buffer.of(
      0xff,
      from & 255,
      (from >> 8) & 255,
      (from >> 16) & 255,
      from >> 24,
      size & 255,
      (size >> 8) & 255,
      size >> 16,
    );
  });
  return Buffer.concat([sizes, ...parts]);
}

function byteDelta(bytes: number): PackEntry {
  return {
    type: ofsDelta,
    base: 0,
    data: Buffer.concat([copyDelta(1, bytes, 0), Buffer.alloc(bytes * 2, Buffer.of(0x90, 1))]),
  };
}

/** Objects by hand: their names are computed, so that they hang together. */
function hashed(entries: PackEntry[], kind: "blob" | "tree" | "commit", data: Buffer): string {
  entries.push(entry({ blob, tree, commit }[kind], data));
  return nameOf(kind, data);
}

function deepTree(): Buffer {
  const entries: PackEntry[] = [];
  let oid = hashed(entries, "tree", Buffer.alloc(0));
  for (let depth = 0; depth < 74_990; depth++) {
    oid = hashed(entries, "tree", Buffer.concat([Buffer.from("40000 d\0"), Buffer.from(oid, "hex")]));
  }
  return commitOf(entries, oid);
}

function wideTree(): Buffer {
  const rows = Array.from({ length: 100_001 }, (_, index) =>
    Buffer.concat([Buffer.from(`100644 ${String(index).padStart(6, "0")}\0`), Buffer.alloc(20, 1)]),
  );
  const entries: PackEntry[] = [];
  return commitOf(entries, hashed(entries, "tree", Buffer.concat(rows)));
}

/** The pack of a commit of that tree; the branch is told to be there. */
function commitOf(entries: PackEntry[], oid: string): Buffer {
  const people = "author A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n";
  head = hashed(entries, "commit", Buffer.from(`tree ${oid}\n${people}\nm\n`));
  return buildPack(entries);
}
