import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deflateSync, gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { RepositorySettings } from "../../../agent/settings/settings.ts";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type Exchange, type GitTestServer, type Intercept, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";
import { buildPack, frameShallowAnswer, PACK_TYPES } from "../../support/pack-builder.ts";

const RESULT = { "content-type": "application/x-git-upload-pack-result" };
let repository: TestRepository;
let server: GitTestServer;
let opened: { source: Source; gitFolder: string }[] = [];

beforeAll(async () => {
  repository = makeRepository();
  server = await startGitServer(repository.folder);
});
beforeEach(() => {
  server.intercept = null;
  server.requests.length = 0;
  repository.commitFiles({ "policy.json": "{}" }, { orphan: true });
});
afterEach(async () => {
  for (const { source, gitFolder } of opened) {
    await source.close();
    rmSync(dirname(gitFolder), { recursive: true });
  }
  opened = [];
});
afterAll(async () => {
  await server.close();
  rmSync(repository.folder, { recursive: true });
});

async function open(url = server.url, more: Partial<RepositorySettings> = {}): Promise<Source> {
  const made = await openTestSource(url, { timeoutMs: 1_000, ...more });
  opened.push(made);
  return made.source;
}

const answer =
  (status: number, headers: { [name: string]: string } = {}, body: string | Buffer = ""): Intercept =>
  ({ send }) => {
    send({ status, headers, body: Buffer.from(body) });
    return true;
  };
/** Sends what Git's own server answered, changed. */
const bend =
  (change: (body: Buffer) => Buffer): Intercept =>
  async ({ backend, send }) => {
    const real = await backend();
    send({ ...real, body: change(real.body) });
    return true;
  };
const silence: Intercept = () => true;
const silenceAfterHead: Intercept = ({ response }) => {
  response.writeHead(200, RESULT).flushHeaders();
  return true;
};
/** One byte every 50 ms: each wait is short, the whole never ends. */
const trickle: Intercept = async ({ backend, response }) => {
  const { body } = await backend();
  response.writeHead(200, RESULT);
  for (const byte of body) {
    if (response.destroyed) return true;
    response.write(Buffer.of(byte));
    await sleep(50);
  }
  response.end();
  return true;
};
const reset: Intercept = ({ request }) => {
  request.socket.resetAndDestroy();
  return true;
};
const resetWithin: Intercept = async ({ backend, response, request }) => {
  const { body } = await backend();
  response.writeHead(200, { ...RESULT, "content-length": body.length });
  response.write(body.subarray(0, body.length >> 1), () => request.socket.resetAndDestroy());
  return true;
};
const endless: Intercept = ({ response }) => {
  response.writeHead(200, RESULT);
  const chunk = Buffer.from(`fff0${"x".repeat(0xffec)}`);
  const write = (): void => {
    while (!response.destroyed && response.write(chunk));
    if (!response.destroyed) response.once("drain", write);
  };
  write();
  return true;
};

type Row = [name: string, fault: Intercept, code: string, message?: RegExp];
const both: readonly Row[] = [
  [
    "an HTML page",
    answer(200, { "content-type": "text/html; charset=utf-8" }, "<html>"),
    "SOURCE_PROTOCOL",
    /text\/html/,
  ],
  ["401", answer(401), "SOURCE_AUTH"],
  ["403", answer(403), "SOURCE_AUTH"],
  ["a sign-in page with 203", answer(203, { "content-type": "text/html" }), "SOURCE_AUTH"],
  ["404", answer(404), "SOURCE_HTTP", /404/],
  ["502", answer(502), "SOURCE_HTTP", /502/],
  ["503 with Retry-After", answer(503, { "retry-after": "30" }), "SOURCE_HTTP", /503/],
  ["an empty 200", answer(200, RESULT), "SOURCE_PROTOCOL"],
  [
    "a gzip body that nobody asked for",
    answer(200, { ...RESULT, "content-encoding": "gzip" }, gzipSync("0000")),
    "SOURCE_PROTOCOL",
    /gzip/,
  ],
  ["ERR", answer(200, RESULT, "001aERR access \u001b[31mdenied"), "SOURCE_PROTOCOL", /says: access \[31mdenied/],
  ["bytes that are not packets", answer(200, RESULT, "zzzz"), "SOURCE_PROTOCOL", /framing/],
  ["silence", silence, "SOURCE_TIMEOUT"],
  ["silence after the headers", silenceAfterHead, "SOURCE_TIMEOUT"],
  ["a trickle of single bytes", trickle, "SOURCE_TIMEOUT"],
  ["a reset connection", reset, "SOURCE_UNREACHABLE"],
  ["a reset within the body", resetWithin, "SOURCE_UNREACHABLE"],
  ["an answer that breaks off", bend((body) => body.subarray(0, body.length - 5)), "SOURCE_PROTOCOL"],
  ["bytes after the end", bend((body) => Buffer.concat([body, Buffer.from("0008more")])), "SOURCE_PROTOCOL"],
];

describe("poll", () => {
  test.each<Row>([...both, ["an endless answer", endless, "SOURCE_TOO_LARGE"]])(
    "GD1 GD2 %s",
    async (_, fault, code, message) => {
      const source = await open();
      server.intercept = fault;
      const expected = { code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) };
      await expect(source.poll(quiet())).rejects.toMatchObject(expected);
      server.intercept = null;
      expect(await source.poll(quiet())).toBe(repository.git(["rev-parse", "main"]));
    },
  );

  test.each([301, 302, 307, 308])("GD4 a redirect with %i is named, stripped and not followed", async (status) => {
    const source = await open();
    server.intercept = answer(status, { location: "https://user:pass@elsewhere.example/x.git/info?token=1#f" });
    await expect(source.poll(quiet())).rejects.toMatchObject({
      code: "SOURCE_REDIRECT",
      message: expect.stringContaining("to https://elsewhere.example/x.git/info"),
      details: { status, target: "https://elsewhere.example/x.git/info" },
    });
    expect(server.requests).toHaveLength(1);
  });

  test("GD1 a pause that the server asks for is in the details", async () => {
    const source = await open();
    server.intercept = answer(429, { "retry-after": "30" });
    await expect(source.poll(quiet())).rejects.toMatchObject({ details: { status: 429, retryAfterMs: 30_000 } });
  });

  test("nobody listens", async () => {
    const closed = createServer();
    const port = await new Promise<number>((resolve) => {
      closed.listen(0, "127.0.0.1", () => resolve((closed.address() as { port: number }).port));
    });
    await new Promise((resolve) => closed.close(resolve));
    const source = await open(`http://127.0.0.1:${port}/policy.git`);
    await expect(source.poll(quiet())).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("the caller gives up", async () => {
    const source = await open();
    server.intercept = silence;
    const controller = new AbortController();
    const polling = source.poll(controller.signal);
    setTimeout(() => controller.abort(), 50);
    await expect(polling).rejects.toMatchObject({
      code: "SOURCE_TIMEOUT",
      message: expect.stringContaining("given up"),
    });
  });

  test("a repository with SHA-256 names", async () => {
    const other = makeRepository("sha256");
    other.commitFiles({ "policy.json": "{}" });
    const its = await startGitServer(other.folder);
    await expect((await open(its.url)).poll(quiet())).rejects.toMatchObject({ code: "SOURCE_UNSUPPORTED" });
    await its.close();
    rmSync(other.folder, { recursive: true });
  });

  test("an empty repository has no branch", async () => {
    repository.git(["update-ref", "-d", "refs/heads/main"]);
    await expect((await open()).poll(quiet())).rejects.toMatchObject({ code: "SOURCE_NO_BRANCH" });
  });

  test("a server without protocol v2 is asked for its whole list from then on, until it learns v2", async () => {
    const source = await open();
    const head = repository.git(["rev-parse", "main"]);
    server.intercept = oldServer;
    expect(await source.poll(quiet())).toBe(head);
    expect(await source.poll(quiet())).toBe(head);
    expect(server.requests.map((request) => request.split(" ")[0])).toEqual(["POST", "GET", "GET"]);
    expect((await source.open(head, quiet())).commit).toBe(head);
    server.intercept = null;
    server.requests.length = 0;
    expect(await source.poll(quiet())).toBe(head);
    expect(await source.poll(quiet())).toBe(head);
    expect(server.requests.map((request) => request.split(" ")[0])).toEqual(["GET", "POST", "POST"]);
  });
});

/** Does not see the Git-Protocol header. */
const oldServer: Intercept = async ({ request, backend, send }: Exchange) => {
  delete request.headers["git-protocol"];
  send(await backend());
  return true;
};

describe("fetch", () => {
  const rows: readonly Row[] = [
    ...both,
    ["an endless answer", endless, "SOURCE_PROTOCOL"],
    ["no pack behind NAK", answer(200, RESULT, "0008NAK\n0000"), "SOURCE_PROTOCOL", /pack is malformed/],
    ["the error band", answer(200, RESULT, "0008NAK\n0012\u0003out of disk\n0000"), "SOURCE_PROTOCOL", /out of disk/],
    ["an unknown line", answer(200, RESULT, "000chello\n\n\n0000"), "SOURCE_PROTOCOL", /unknown line/],
    [
      "a flipped bit in the pack",
      bend((body) => flipBit(body, body.indexOf("PACK") + 20)),
      "SOURCE_PROTOCOL",
      /checksum/,
    ],
  ];
  test.each(rows)("GD1 GD2 GD8 %s, and the next fetch works", async (_, fault, code, message) => {
    const source = await open();
    const head = await source.poll(quiet());
    server.intercept = fault;
    const expected = { code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) };
    await expect(source.open(head, quiet())).rejects.toMatchObject(expected);
    server.intercept = null;
    const reader = await source.open(head, quiet());
    expect((await reader.readFile("policy.json", 10))?.toString()).toBe("{}");
  });

  test("the same faults during a later fetch leave the old commit readable", async () => {
    const source = await open();
    const first = await source.poll(quiet());
    await source.open(first, quiet());
    repository.commitFiles({ "policy.json": "second" });
    const second = await source.poll(quiet());
    for (const fault of [reset, answer(502), answer(401)]) {
      server.intercept = fault;
      await expect(source.open(second, quiet())).rejects.toThrow();
      expect((await (await source.open(first, quiet())).readFile("policy.json", 10))?.toString()).toBe("{}");
    }
    server.intercept = null;
    expect((await source.open(second, quiet())).commit).toBe(second);
  });

  test("GD8 a well-formed pack of other objects is refused, and the right one is fetched after it", async () => {
    const other = repository.commitFiles({ "policy.json": "other" }, { branch: "other", orphan: true });
    const source = await open();
    const head = await source.poll(quiet());
    server.intercept = async ({ body, backend, send }) => {
      send(await backend(Buffer.from(body.toString("latin1").replaceAll(head, other), "latin1")));
      return true;
    };
    await expect(source.open(head, quiet())).rejects.toMatchObject({ code: "SOURCE_PROTOCOL" });
    server.intercept = null;
    expect((await source.open(head, quiet())).commit).toBe(head);
  });

  test("GD2 a pack over the limit is refused while it arrives", async () => {
    const source = await open(server.url, { maxPackBytes: 100 });
    await expect(source.open(await source.poll(quiet()), quiet())).rejects.toMatchObject({
      code: "SOURCE_TOO_LARGE",
      message: expect.stringContaining("100 bytes"),
    });
  });

  test("GC6 a small pack that inflates to 500 MB is refused before anything is inflated or stored", async () => {
    const { source, gitFolder } = await openTestSource(server.url);
    opened.push({ source, gitFolder });
    const head = await source.poll(quiet());
    const compressed = deflateSync(Buffer.alloc(50_000_000));
    const bomb = buildPack([{ type: PACK_TYPES.blob, data: Buffer.alloc(0), declaredBytes: 500_000_000, compressed }]);
    server.intercept = answer(200, RESULT, frameShallowAnswer(head, bomb));
    const before = process.memoryUsage().rss;
    await expect(source.open(head, quiet())).rejects.toMatchObject({ code: "SOURCE_TOO_LARGE" });
    expect(process.memoryUsage().rss - before).toBeLessThan(20_000_000);
    server.intercept = null;
    expect((await source.open(head, quiet())).commit).toBe(head);
  });

  test("GD8 a file whose object did not come is an error, and the next opening fetches everything again", async () => {
    const source = await open();
    const head = await source.poll(quiet());
    const blob = repository.git(["rev-parse", "main:policy.json"]);
    const ids = repository
      .git(["rev-list", "--objects", "main"])
      .split("\n")
      .map((line) => line.slice(0, 40));
    const pack = packOf(ids.filter((id) => id !== blob));
    server.intercept = answer(200, RESULT, frameShallowAnswer(head, pack));
    const reader = await source.open(head, quiet());
    await expect(reader.readFile("policy.json", 10)).rejects.toMatchObject({ code: "SOURCE_PROTOCOL" });
    server.intercept = null;
    const again = await source.open(head, quiet());
    expect((await again.readFile("policy.json", 10))?.toString()).toBe("{}");
  });
});

function packOf(ids: readonly string[]): Buffer {
  return repository.gitBytes(["pack-objects", "--stdout", "-q"], `${ids.join("\n")}\n`);
}

function flipBit(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
