import { readdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";

/** What a repository can hold to be read as something else than it is. */

let repository: TestRepository;
let server: GitTestServer;
let source: Source;
let gitFolder: string;

beforeAll(async () => {
  repository = makeRepository();
  server = await startGitServer(repository.folder);
  ({ source, gitFolder } = await openTestSource(server.url));
});
beforeEach(() => {
  repository.commitFiles({ "policy.json": "{}" }, { orphan: true });
});
afterAll(async () => {
  await source.close();
  await server.close();
  rmSync(dirname(gitFolder), { recursive: true });
  rmSync(repository.folder, { recursive: true });
});

const openHead = async () => await source.open(await source.poll(quiet()), quiet());
const readPolicy = async (path = "policy.json"): Promise<string | undefined> =>
  (await (await openHead()).readFile(path, 10_000))?.toString("latin1");

test("GC5 names that are something else on some file systems are only names: nothing is ever written under them", async () => {
  const blob = repository.writeObject("blob", "x");
  const names = [
    ...["..;", ".git ", ".git.", ".gıt", "GIT~1", "PRN", "a\\b", "%2e%2e", ".g\u200cit", "con:$DATA"],
    ...["e\u0301", "\u00e9", "x".repeat(4_000), "line\nfeed", "POLICY.JSON", "-rf"],
  ].map((name) => Buffer.from(name).toString("latin1"));
  const rows = [...names, "policy.json"].sort().map((name) => ["100644", name, blob] as const);
  const bytes = Buffer.concat(
    rows.map(([mode, name, oid]) =>
      Buffer.concat([Buffer.from(`${mode} ${name}\0`, "latin1"), Buffer.from(oid, "hex")]),
    ),
  );
  repository.commitTree(repository.writeObject("tree", bytes));
  expect(await readPolicy()).toBe("x");
  expect(await readPolicy("GIT~1")).toBe("x");
  expect(await readPolicy("e\u0301")).toBe("x");
  for (const name of readdirSync(gitFolder, { recursive: true, encoding: "utf8" })) {
    expect(name).toMatch(/^(?:store\.json|[0-9a-f]{40}\.pack)$/);
  }
  // A list of names with one that cannot be shown as what it is, is no list.
  await expect((await openHead()).listFiles("", 100)).rejects.toMatchObject({ code: "SOURCE_FILE" });
});

test("GC15, WG4: attributes have no effect: the bytes are the blob's", async () => {
  const text = "one\r\ntwo\n$Id$ $Format:%H$\r\n";
  const attributes =
    "* text eol=crlf ident export-subst filter=evil\npolicy.json export-ignore working-tree-encoding=UTF-16\n";
  repository.commitFiles({ ".gitattributes": attributes, "policy.json": text });
  repository.git(["config", "filter.evil.smudge", "echo smudged"]);
  expect(await readPolicy()).toBe(text);
});

test("GC16 replace references and grafts are neither fetched nor honoured", async () => {
  const honest = repository.git(["rev-parse", "main"]);
  const evil = repository.commitFiles({ "policy.json": "evil" }, { branch: "evil", orphan: true });
  const blob = repository.git(["rev-parse", "main:policy.json"]);
  const evilBlob = repository.git(["rev-parse", "evil:policy.json"]);
  repository.git(["update-ref", `refs/replace/${honest}`, evil]);
  repository.git(["update-ref", `refs/replace/${blob}`, evilBlob]);
  expect(repository.git(["show", "main:policy.json"])).toBe("evil");
  const reader = await openHead();
  expect(reader.commit).toBe(honest);
  expect((await reader.readFile("policy.json", 10))?.toString()).toBe("{}");
  for (const ref of [honest, blob]) repository.git(["update-ref", "-d", `refs/replace/${ref}`]);
});

test("GD8, WG1: a blob, a tree and a tag in the place of the head's commit are said to be", async () => {
  const wrong = [
    repository.writeObject("blob", "x"),
    repository.git(["rev-parse", "main^{tree}"]),
    repository.git(
      ["mktag"],
      `object ${repository.git(["rev-parse", "main"])}\ntype commit\ntag v\ntagger A <a@b> 0 +0000\n\nm\n`,
    ),
  ];
  for (const oid of wrong) {
    const list = `003d${oid} refs/heads/main\n0000`;
    server.intercept = ({ request, send }) => {
      if (request.headers["git-protocol"] === undefined) return false;
      send({
        status: 200,
        headers: { "content-type": "application/x-git-upload-pack-result" },
        body: Buffer.from(list),
      });
      return true;
    };
    repository.git(["update-ref", "refs/tags/x", oid]);
    await expect(openHead()).rejects.toMatchObject({ code: "SOURCE_PROTOCOL" });
    server.intercept = null;
    repository.git(["update-ref", "-d", "refs/tags/x"]);
    expect(await readPolicy()).toBe("{}");
  }
});
