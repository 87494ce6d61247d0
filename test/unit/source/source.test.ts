import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";

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

const packs = (gitFolder: string): number =>
  readdirSync(join(gitFolder, "objects/pack")).filter((name) => name.endsWith(".pack")).length;

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
  expect(repository.git(["--git-dir", gitFolder, "fsck", "--full"])).toBe("");
  expect((await (await source.open(first, quiet())).readFile("policy.json", 100))?.toString()).toBe("{}");
});

test("past 50 packs the cache is made anew in one fetch", async () => {
  const { source, gitFolder } = await open();
  await source.open(await source.poll(quiet()), quiet());
  for (let index = 0; index < 51; index++) {
    writeFileSync(join(gitFolder, `objects/pack/pack-${"0".repeat(38)}${String(index).padStart(2, "0")}.pack`), "");
  }
  repository.commitFiles({ "policy.json": '{"new":true}' });
  const reader = await source.open(await source.poll(quiet()), quiet());
  expect((await reader.readFile("policy.json", 100))?.toString()).toBe('{"new":true}');
  expect(packs(gitFolder)).toBe(1);
});

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

test.each([
  ["an index cut to half", (folder: string) => truncateByHalf(folder, ".idx")],
  ["an empty index", (folder: string) => truncateAll(folder, ".idx", 0)],
  ["a pack cut to half", (folder: string) => truncateByHalf(folder, ".pack")],
  ["a pack without an index", (folder: string) => removeAll(folder, ".idx")],
  ["a reference to nothing", (folder: string) => removeAll(folder, ".pack")],
  ["a file in the place of the folder", replaceByFile],
])("a cache with %s heals by itself", async (_, damage) => {
  const { source, gitFolder } = await open();
  await source.open(await source.poll(quiet()), quiet());
  damage(gitFolder);
  repository.commitFiles({ "policy.json": "healed" });
  const reader = await source.open(await source.poll(quiet()), quiet());
  expect((await reader.readFile("policy.json", 100))?.toString()).toBe("healed");
  expect((await reader.readFile("approvals/0123/alice.sig", 100))?.toString()).toBe("sig");
});

function each(folder: string, ending: string, work: (path: string) => void): void {
  const packFolder = join(folder, "objects/pack");
  for (const name of readdirSync(packFolder)) if (name.endsWith(ending)) work(join(packFolder, name));
}
function truncateByHalf(folder: string, ending: string): void {
  truncateAll(folder, ending, 60);
}
function truncateAll(folder: string, ending: string, bytes: number): void {
  each(folder, ending, (path) => truncateSync(path, bytes));
}
function removeAll(folder: string, ending: string): void {
  each(folder, ending, (path) => rmSync(path));
}
function replaceByFile(folder: string): void {
  rmSync(folder, { recursive: true });
  writeFileSync(folder, "not a folder");
}
