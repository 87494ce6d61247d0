import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { nameOf } from "../../../agent/source/pack-index.ts";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";
import { buildPack, frameShallowAnswer, PACK_TYPES } from "../../support/pack-builder.ts";

let repository: TestRepository;
let server: GitTestServer;
const opened: { source: Source; gitFolder: string }[] = [];

beforeAll(async () => {
  repository = makeRepository();
  server = await startGitServer(repository.folder);
});
beforeEach(() => {
  server.intercept = null;
  server.requests.length = 0;
  repository.commitFiles({ "policy.json": "{}", "approvals/0123/alice.sig": "sig" }, { orphan: true });
});
afterAll(async () => {
  await server.close();
  for (const { source, gitFolder } of opened) {
    await source.close();
    rmSync(dirname(gitFolder), { recursive: true });
  }
  rmSync(repository.folder, { recursive: true });
});

async function open(): Promise<{ source: Source; gitFolder: string }> {
  const made = await openTestSource(server.url);
  opened.push(made);
  return made;
}

const packs = (gitFolder: string): number => readdirSync(gitFolder).filter((name) => name.endsWith(".pack")).length;

test("a poll is one request and returns the branch's head", async () => {
  const { source } = await open();
  expect(await source.poll(quiet())).toBe(repository.git(["rev-parse", "main"]));
  expect(server.requests).toEqual(["POST /policy.git/git-upload-pack version=2"]);
});

test("a fetch is one request, and files are read from the commit", async () => {
  const { source } = await open();
  const reader = await source.open(await source.poll(quiet()), quiet());
  expect(server.requests.slice(1)).toEqual(["POST /policy.git/git-upload-pack -"]);
  expect((await reader.readFile("policy.json", 100))?.toString()).toBe("{}");
  expect((await reader.readFile("approvals/0123/alice.sig", 100))?.toString()).toBe("sig");
  expect(await reader.readFile("absent.json", 100)).toBeNull();
  expect(await reader.readFile("policy.json/below", 100)).toBeNull();
  expect(await reader.listFiles("approvals/0123", 10)).toEqual(["alice.sig"]);
  expect(await reader.listFiles("", 10)).toEqual(["policy.json"]);
  expect(await reader.listFiles("absent", 10)).toEqual([]);
  expect(reader.raw.toString()).toBe(repository.git(["cat-file", "commit", "main"]));
});

test("opening a commit again asks nobody, also after a restart", async () => {
  const { source, gitFolder } = await open();
  const head = await source.poll(quiet());
  await source.open(head, quiet());
  server.requests.length = 0;
  await source.open(head, quiet());
  const restarted = await openTestSource(server.url, {}, gitFolder);
  await restarted.source.open(head, quiet());
  expect(server.requests).toEqual([]);
});

test("later fetches bring only what is new and keep the old commits readable", async () => {
  const big = randomBytes(200_000);
  repository.commitFiles({ "big.bin": big });
  const { source, gitFolder } = await open();
  const first = await source.poll(quiet());
  await source.open(first, quiet());
  for (let serial = 1; serial <= 5; serial++) {
    repository.commitFiles({ "policy.json": `{"serial":${serial}}` });
    server.takeTraffic();
    const reader = await source.open(await source.poll(quiet()), quiet());
    expect((await reader.readFile("policy.json", 100))?.toString()).toBe(`{"serial":${serial}}`);
    expect(server.takeTraffic().down).toBeLessThan(2_500);
  }
  expect(packs(gitFolder)).toBe(6);
  expect((await (await source.open(first, quiet())).readFile("policy.json", 100))?.toString()).toBe("{}");
});

test("past 50 packs the cache is made anew in one fetch", async () => {
  const { source, gitFolder } = await open();
  await source.open(await source.poll(quiet()), quiet());
  for (let index = 0; index < 49; index++) {
    repository.commitFiles({ "policy.json": `{"change":${index}}` });
    await source.open(await source.poll(quiet()), quiet());
  }
  expect(packs(gitFolder)).toBe(50);
  repository.commitFiles({ "policy.json": '{"new":true}' });
  const reader = await source.open(await source.poll(quiet()), quiet());
  expect((await reader.readFile("policy.json", 100))?.toString()).toBe('{"new":true}');
  expect(packs(gitFolder)).toBe(1);
});

/** A campaign of 10,000 changes: `CHANGES=10000 npx vitest run --project unit test/unit/source/source.test.ts -t changes`. */
const changes = Number(process.env["CHANGES"] ?? 120);

/** The objects of a commit with one file, as a server would send them: nothing of Git's is started for it. */
function changeOf(index: number, parent: string): { readonly commit: string; readonly pack: Buffer } {
  const file = Buffer.from(`{"change":${index},"x":"${"y".repeat(500)}"}`);
  const tree = Buffer.concat([Buffer.from("100644 policy.json\0"), Buffer.from(nameOf("blob", file), "hex")]);
  const people = "author A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000";
  const commit = Buffer.from(`tree ${nameOf("tree", tree)}\nparent ${parent}\n${people}\n\nchange ${index}\n`);
  const pack = buildPack([
    { type: PACK_TYPES.commit, data: commit },
    { type: PACK_TYPES.tree, data: tree },
    { type: PACK_TYPES.blob, data: file },
  ]);
  return { commit: nameOf("commit", commit), pack };
}

test(
  "over many changes the cache stays within its bound on disk, and no file is left over",
  async () => {
    const { source, gitFolder } = await open();
    let current = changeOf(0, "1".repeat(40));
    server.intercept = ({ request, body, send }) => {
      const headers = { "content-type": "application/x-git-upload-pack-result" };
      const isPoll = request.headers["git-protocol"] !== undefined;
      const have = /have ([0-9a-f]{40})/.exec(body.toString("latin1"))?.[1];
      const list = `003d${current.commit} refs/heads/main\n0000`;
      const shallow = frameShallowAnswer(current.commit, current.pack);
      // Behind the shallow lines and their NAK the answer is the same.
      const more = Buffer.concat([Buffer.from(`0031ACK ${have}\n`), shallow.subarray(53 + 4 + 8)]);
      send({ status: 200, headers, body: isPoll ? Buffer.from(list) : have === undefined ? shallow : more });
      return true;
    };
    let mostBytes = 0;
    let mostFiles = 0;
    let fresh = 0;
    for (let index = 1; index <= changes; index++) {
      current = changeOf(index, current.commit);
      const reader = await source.open(await source.poll(quiet()), quiet());
      expect((await reader.readFile("policy.json", 1_000))?.toString()).toContain(`"change":${index},`);
      const files = readdirSync(gitFolder);
      if (files.length === 2) fresh += 1;
      mostFiles = Math.max(mostFiles, files.length);
      mostBytes = Math.max(
        mostBytes,
        files.reduce((sum, name) => sum + statSync(join(gitFolder, name)).size, 0),
      );
    }
    expect(fresh).toBe(Math.ceil(changes / 50));
    expect(mostFiles).toBe(51);
    expect(mostBytes).toBeLessThan(50_000);
    if (process.env["CHANGES"] !== undefined) console.log(`${changes} changes: ${mostFiles} files, ${mostBytes} bytes`);
  },
  60_000 + changes * 300,
);

test("a force push to an unrelated history is fetched like any other head", async () => {
  const { source } = await open();
  await source.open(await source.poll(quiet()), quiet());
  const other = repository.commitFiles({ "policy.json": "other" }, { orphan: true });
  const reader = await source.open(await source.poll(quiet()), quiet());
  expect(reader.commit).toBe(other);
  expect((await reader.readFile("policy.json", 100))?.toString()).toBe("other");
});

test("a deleted branch is SOURCE_NO_BRANCH, and a longer name with the same beginning is not it", async () => {
  const { source } = await open();
  repository.git(["update-ref", "refs/heads/main-evil", repository.git(["rev-parse", "main"])]);
  repository.git(["update-ref", "-d", "refs/heads/main"]);
  await expect(source.poll(quiet())).rejects.toMatchObject({ code: "SOURCE_NO_BRANCH" });
  repository.git(["update-ref", "-d", "refs/heads/main-evil"]);
  await expect(source.poll(quiet())).rejects.toMatchObject({ code: "SOURCE_NO_BRANCH" });
});

test("a branch that moved on between poll and fetch still opens at the polled commit", async () => {
  const { source } = await open();
  const polled = await source.poll(quiet());
  repository.commitFiles({ "policy.json": "moved" });
  expect((await source.open(polled, quiet())).commit).toBe(polled);
});

test("a polled commit that the server no longer has is an error to try again after", async () => {
  const { source } = await open();
  const polled = await source.poll(quiet());
  repository.commitFiles({ "policy.json": "moved" }, { orphan: true });
  await expect(source.open(polled, quiet())).rejects.toMatchObject({
    code: "SOURCE_PROTOCOL",
    message: expect.stringContaining("not our ref"),
  });
});

test("5,000 other references cost neither poll nor fetch anything", async () => {
  const head = repository.git(["rev-parse", "main"]);
  const packed = join(repository.folder, "packed-refs");
  const lines = Array.from({ length: 5_000 }, (_, index) => `${head} refs/pull/${10_000 + index}/head\n`);
  writeFileSync(packed, `# pack-refs with: peeled fully-peeled sorted \n${lines.join("")}`);
  const { source } = await open();
  server.takeTraffic();
  await source.open(await source.poll(quiet()), quiet());
  expect(server.takeTraffic().down).toBeLessThan(2_500);
  rmSync(packed);
});

const packPath = (folder: string): string =>
  join(folder, readdirSync(folder).find((name) => name.endsWith(".pack")) ?? "");
const manifestPath = (folder: string): string => join(folder, "store.json");
const change = (path: string, bend: (bytes: Buffer) => Buffer | string): void => {
  writeFileSync(path, bend(readFileSync(path)));
};

test.each<[string, (folder: string) => void]>([
  ["a pack cut to half", (folder) => truncateSync(packPath(folder), 60)],
  ["an empty pack", (folder) => truncateSync(packPath(folder), 0)],
  ["no pack", (folder) => rmSync(packPath(folder))],
  [
    "a flipped bit in a pack",
    (folder) => change(packPath(folder), (bytes) => bytes.fill(bytes.readUInt8(40) ^ 1, 40, 41)),
  ],
  [
    "another sound pack under that name",
    (folder) => change(packPath(folder), () => buildPack([{ type: PACK_TYPES.blob, data: Buffer.from("x") }])),
  ],
  ["no list of packs", (folder) => rmSync(manifestPath(folder))],
  ["half a list of packs", (folder) => change(manifestPath(folder), (bytes) => bytes.subarray(0, 20))],
  ["a list of something else", (folder) => change(manifestPath(folder), () => '{"version":1,"tips":["../x"]}')],
  [
    "a folder in the place of the list",
    (folder) => {
      rmSync(manifestPath(folder));
      mkdirSync(manifestPath(folder));
    },
  ],
  [
    "a file in the place of the folder",
    (folder) => {
      rmSync(folder, { recursive: true });
      writeFileSync(folder, "not a folder");
    },
  ],
])("a cache with %s heals by itself, after a restart and while it is used", async (_, damage) => {
  const { source, gitFolder } = await open();
  await source.open(await source.poll(quiet()), quiet());
  damage(gitFolder);
  repository.commitFiles({ "policy.json": "healed" });
  for (const current of [source, (await openTestSource(server.url, {}, gitFolder)).source]) {
    const reader = await current.open(await current.poll(quiet()), quiet());
    expect((await reader.readFile("policy.json", 100))?.toString()).toBe("healed");
    const old = await reader.readFile("approvals/0123/alice.sig", 100).catch(() => null);
    // What is missing shows when it is read: the error is worth another try, and that one has everything.
    const again = await current.open(await current.poll(quiet()), quiet());
    expect((old ?? (await again.readFile("approvals/0123/alice.sig", 100)))?.toString()).toBe("sig");
  }
});

test("bytes that change on disk under the agent are never taken for what they were", async () => {
  const { source, gitFolder } = await open();
  const head = await source.poll(quiet());
  const reader = await source.open(head, quiet());
  change(packPath(gitFolder), (bytes) => Buffer.alloc(bytes.length, 1));
  await expect(reader.readFile("policy.json", 100)).rejects.toMatchObject({ code: "SOURCE_PROTOCOL" });
  expect((await (await source.open(head, quiet())).readFile("policy.json", 100))?.toString()).toBe("{}");
});

test("files that a crash left in the folder are gone after the next fetch", async () => {
  const { source, gitFolder } = await open();
  await source.open(await source.poll(quiet()), quiet());
  writeFileSync(join(gitFolder, ".1.2.tmp"), "half a pack");
  writeFileSync(join(gitFolder, `${"0".repeat(40)}.pack`), "a pack that no list names");
  mkdirSync(join(gitFolder, "objects"));
  repository.commitFiles({ "policy.json": "next" });
  await source.open(await source.poll(quiet()), quiet());
  expect(readdirSync(gitFolder).filter((name) => !name.endsWith(".pack"))).toEqual(["store.json"]);
  expect(packs(gitFolder)).toBe(2);
});
