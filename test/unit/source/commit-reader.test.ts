import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCommit } from "../../../agent/source/commit-reader.ts";
import type { CommitReader, Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";

const LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
let repository: TestRepository;
let server: GitTestServer;
let opened: { source: Source; gitFolder: string };
let reader: CommitReader;

beforeAll(async () => {
  repository = makeRepository();
  const { writeObject, treeBytes } = repository;
  const blob = writeObject("blob", "content");
  const link = writeObject("blob", "policy.json");
  const folder = writeObject(
    "tree",
    treeBytes([
      ["100644", "b", blob],
      ["100755", "c", blob],
      ["40000", "d", writeObject("tree", treeBytes([["100644", "deep", blob]]))],
      ["120000", "e", link],
      ["100644", "ä", blob],
    ]),
  );
  const root = writeObject(
    "tree",
    treeBytes([
      ["100644", "big.json", writeObject("blob", Buffer.alloc(1_001, "x"))],
      [
        "40000",
        "bytes",
        writeObject("tree", Buffer.concat([Buffer.from("100644 \xff\0", "latin1"), Buffer.from(blob, "hex")])),
      ],
      ["40000", "folder", folder],
      ["100644", "lfs.json", writeObject("blob", LFS)],
      ["120000", "link.json", link],
      ["120000", "linked", writeObject("blob", "folder")],
      ["160000", "module", "1".repeat(40)],
      ["100644", "policy.json", blob],
      ["100755", "run.json", blob],
    ]),
  );
  repository.commitTree(root);
  server = await startGitServer(repository.folder);
  opened = await openTestSource(server.url);
  reader = await opened.source.open(await opened.source.poll(quiet()), quiet());
});
afterAll(async () => {
  await opened.source.close();
  await server.close();
  rmSync(dirname(opened.gitFolder), { recursive: true });
  rmSync(repository.folder, { recursive: true });
});

test.each([
  ["policy.json", "content"],
  ["folder/b", "content"],
  ["folder/d/deep", "content"],
  ["folder/ä", "content"],
  ["lfs.json", LFS],
])("%s is read", async (path, want) => {
  expect((await reader.readFile(path, 1_000))?.toString()).toBe(want);
});

test.each(["absent", "folder/absent", "policy.json/x", "Policy.json", "folder/d/deep/x"])(
  "%s is not there",
  async (path) => {
    expect(await reader.readFile(path, 1_000)).toBeNull();
  },
);

test.each([
  ["link.json", /is a symbolic link/, "GC1"],
  ["module", /is a submodule/, "GC1"],
  ["run.json", /is an executable/, "GC2"],
  ["folder", /is a folder/, "GC1"],
  ["folder/c", /is an executable/, "GC2"],
  ["linked/b", /lies behind a symbolic link/, "GC1"],
  ["module/x", /lies behind a submodule/, "GC1"],
  ["/policy.json", /not a path/, "GC5"],
  ["folder//b", /not a path/, "GC5"],
  ["./policy.json", /not a path/, "GC5"],
  ["folder/../policy.json", /not a path/, "GC5"],
  ["", /not a path/, "GC5"],
  ["a\0b", /not a path/, "GC5"],
  ["a/".repeat(40), /not a path/, "GC5"],
  ["x".repeat(2_000), /not a path/, "GC5"],
])("%s is refused %s %s", async (path, message) => {
  await expect(reader.readFile(path, 1_000)).rejects.toMatchObject({
    code: "SOURCE_FILE",
    message: expect.stringMatching(message),
  });
});

test("a file over the caller's limit is too large", async () => {
  await expect(reader.readFile("big.json", 1_000)).rejects.toMatchObject({ code: "SOURCE_TOO_LARGE" });
  expect((await reader.readFile("big.json", 1_001))?.length).toBe(1_001);
});

test("only regular files are listed, sorted", async () => {
  expect(await reader.listFiles("folder", 10)).toEqual(["b", "ä"]);
  expect(await reader.listFiles("", 10)).toEqual(["big.json", "lfs.json", "policy.json"]);
  expect(await reader.listFiles("absent", 10)).toEqual([]);
});

test.each([
  ["linked", 10, "SOURCE_FILE"],
  ["policy.json", 10, "SOURCE_FILE"],
  ["module", 10, "SOURCE_FILE"],
  ["bytes", 10, "SOURCE_FILE"],
  ["folder", 4, "SOURCE_TOO_LARGE"],
])("listing %s with at most %i entries is %s", async (folder, maxEntries, code) => {
  await expect(reader.listFiles(folder, maxEntries)).rejects.toMatchObject({ code });
});

test("a commit whose root folder is malformed does not open", async () => {
  const objects: { readonly [type: string]: Buffer } = {
    commit: Buffer.from(`tree ${"1".repeat(40)}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\n`),
    tree: Buffer.from("100644 ..\0aaaaaaaaaaaaaaaaaaaa"),
  };
  const opening = openCommit("2".repeat(40), async (_, type) => objects[type] ?? Buffer.alloc(0));
  await expect(opening).rejects.toMatchObject({ code: "SOURCE_FILE" });
});

test("GB15 a commit object in which two readers could see two trees does not open", async () => {
  const text = `tree ${"1".repeat(40)}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\ntree ${"2".repeat(40)}\n\n`;
  const opening = openCommit("2".repeat(40), async () => Buffer.from(text));
  await expect(opening).rejects.toMatchObject({ code: "SOURCE_COMMIT" });
});

test("a commit object over 1 MiB does not open", async () => {
  const opening = openCommit("2".repeat(40), async () => Buffer.alloc(1024 * 1024 + 1));
  await expect(opening).rejects.toMatchObject({ code: "SOURCE_TOO_LARGE" });
});
