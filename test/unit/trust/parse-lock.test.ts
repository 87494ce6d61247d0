import { describe, expect, test } from "vitest";
import { type Lock, refusePath, renderLock } from "../../../agent/trust/lock.ts";
import { parseLock } from "../../../agent/trust/parse-lock.ts";

const digest = "ab".repeat(32);
const good: Lock = {
  version: 1,
  repository: "egress",
  branch: "main",
  group: "default",
  serial: 7,
  files: { "policy.json": digest },
};
const text = `{
  "version": 1,
  "repository": "egress",
  "branch": "main",
  "group": "default",
  "serial": 7,
  "files": {
    "policy.json": "${digest}"
  }
}
`;

test("a lock has one spelling", () => {
  expect(renderLock(good).toString()).toBe(text);
  expect(parseLock(Buffer.from(text))).toEqual({ ok: true, lock: good });
});

test("paths are sorted by bytes, also those that look like numbers", () => {
  const files = { b: digest, "10": digest, B: digest, "2": digest, "a/b": digest };
  const lines = renderLock({ ...good, files })
    .toString()
    .match(/^ {4}"[^"]+/gm);
  expect(lines?.map((line) => line.slice(5))).toEqual(["10", "2", "B", "a/b", "b"]);
});

test("names that every object has are paths like others", () => {
  const files = JSON.parse(`{"__proto__": "${digest}", "constructor": "${digest}"}`) as Record<string, string>;
  const result = parseLock(renderLock({ ...good, files }));
  expect(result.ok && Object.keys(result.lock.files)).toEqual(["__proto__", "constructor"]);
  expect(result.ok && result.lock.files["toString"]).toBeUndefined();
});

const changed = (changes: object) => Buffer.from(JSON.stringify({ ...good, ...changes }, null, 2));

describe("refused as not canonical", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["without the newline at the end", text.trimEnd()],
    ["with another newline at the end", `${text}\n`],
    ["with four spaces", text.replaceAll("  ", "    ")],
    ["on one line", JSON.stringify(good)],
    ["with keys in another order", text.replace('  "version": 1,\n', "").replace("  }\n}", '  },\n  "version": 1\n}')],
    ["with paths in another order", text.replace('    "policy', `    "zebra.json": "${digest}",\n    "policy`)],
    ["with an escape in a path", text.replace("policy.json", "\\u0070olicy.json")],
    ["with a serial of 7.0", text.replace("7", "7.0")],
    ["with a serial of 7e0", text.replace("7", "7e0")],
    ["with carriage returns", text.replaceAll("\n", "\r\n")],
  ];
  test.each(rows)("%s", (_what, bytes) => {
    expect(parseLock(Buffer.from(bytes))).toMatchObject({
      ok: false,
      issues: [
        {
          message: expect.stringMatching(/not written the way `clawgress sign`/),
          place: { file: "clawgress.lock.json" },
        },
      ],
    });
  });
});

describe("refused by content", () => {
  const rows: readonly (readonly [string, Buffer, string, RegExp])[] = [
    ["nothing", Buffer.alloc(0), "", /empty/],
    ["no JSON", Buffer.from("version https://git-lfs.github.com/spec/v1\n"), "", /Git LFS pointer/],
    [
      "a key twice",
      Buffer.from(text.replace('"serial": 7,', '"serial": 7,\n  "serial": 8,')),
      "/serial",
      /stands twice/,
    ],
    ["an unknown key", changed({ threshold: 0 }), "/threshold", /not known/],
    ["version 2", changed({ version: 2 }), "/version", /from 1 to 1/],
    ["a serial of 0", changed({ serial: 0 }), "/serial", /from 1 to 9007199254740991/],
    ["a negative serial", changed({ serial: -1 }), "/serial", /from 1/],
    ["a serial of 2^53", Buffer.from(text.replace("7", "9007199254740992")), "/serial", /too large to be exact/],
    ["a serial of 1.5", changed({ serial: 1.5 }), "/serial", /whole number/],
    ["a serial in quotes", changed({ serial: "7" }), "/serial", /whole number/],
    ["a branch with two dots", changed({ branch: "a..b" }), "/branch", /branch name/],
    ["a branch that looks like an option", changed({ branch: "-x" }), "/branch", /branch name/],
    ["a group with a space", changed({ group: "a b" }), "/group", /name/],
    ["no files", changed({ files: {} }), "/files", /0 entries/],
    ["a digest in capitals", changed({ files: { a: digest.toUpperCase() } }), "/files/a", /SHA-256/],
    ["a digest of 63 digits", changed({ files: { a: digest.slice(1) } }), "/files/a", /SHA-256/],
    ["files of other depth", changed({ files: { a: { b: { c: {} } } } }), "", /nesting/],
    [
      "1,001 files",
      changed({ files: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`f${i}`, digest])) }),
      "/files",
      /1001 entries/,
    ],
  ];
  test.each(rows)("%s", (_what, bytes, pointer, message) => {
    const result = parseLock(bytes);
    expect(result.ok ? [] : result.issues).toContainEqual(
      expect.objectContaining({ message: expect.stringMatching(message), place: expect.objectContaining({ pointer }) }),
    );
  });
});

describe("paths", () => {
  const refused = [
    "",
    "/etc/passwd",
    "a/",
    "a//b",
    "./a",
    "a/./b",
    "../a",
    "a/../b",
    "..",
    ".git/config",
    "a/.GIT/hooks/x",
    "GIT~1/x",
    "a\\b",
    "a\nb",
    "a\0b",
    "é.json",
    "C:x",
    "a:stream",
    "a?b",
    'a"b',
    " a",
    "a ",
    "a./b",
    "x".repeat(256),
    "clawgress.lock.json",
    "Clawgress.Lock.JSON",
    "approvals/x/alice.sig",
    "trust/1.json",
    "TRUST/2.json",
  ];
  test.each(refused.map((path) => [JSON.stringify(path).slice(0, 40), path]))("%s is refused", (_shown, path) => {
    expect(parseLock(renderLock({ ...good, files: { [path]: digest } })).ok).toBe(false);
  });
  const accepted = [
    "policy.json",
    "a/b c/d.json",
    "trusted/x",
    ".github/x",
    "git/x",
    "a..b",
    "x".repeat(255),
    "policy.d/10-team@eu.json",
  ];
  test.each(accepted.map((path) => [path.slice(0, 40), path]))("%s is accepted", (_shown, path) => {
    expect(parseLock(renderLock({ ...good, files: { [path]: digest } })).ok).toBe(true);
  });
  test("two that differ only in capitals are refused", () => {
    expect(parseLock(renderLock({ ...good, files: { "Policy.json": digest, "policy.json": digest } }))).toMatchObject({
      ok: false,
      issues: [{ message: expect.stringMatching(/only in capitals/) }],
    });
  });
});

test("a step that leads up or nowhere is refused as what it is", () => {
  for (const path of ["a/../b", "./a", "a/."]) expect(refusePath(path)).toBe("it has a step . or ..");
});
