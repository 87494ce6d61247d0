import fc from "fast-check";
import { expect, test } from "vitest";
import { AgentError } from "../../../agent/errors.ts";
import { parseTree } from "../../../agent/source/tree.ts";

const OID = "0123456789abcdef0123456789abcdef01234567";
type Row = readonly [mode: string, name: string];
const tree = (...rows: readonly Row[]): Buffer =>
  Buffer.concat(rows.flatMap(([mode, name]) => [Buffer.from(`${mode} ${name}\0`, "latin1"), Buffer.from(OID, "hex")]));
const error = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

test("the five kinds of entries", () => {
  const bytes = tree(["100644", "a"], ["100755", "b"], ["40000", "c"], ["120000", "d"], ["160000", "e"]);
  expect([...parseTree(bytes).values()].map(({ rawName, kind, oid }) => `${rawName} ${kind} ${oid === OID}`)).toEqual([
    "a file true",
    "b executable true",
    "c folder true",
    "d symlink true",
    "e submodule true",
  ]);
});

test.each<[string, readonly Row[]]>([
  ["nothing", []],
  [
    "a folder after the file that sorts before its slash",
    [
      ["100644", "a-b"],
      ["100644", "a.b"],
      ["40000", "a"],
      ["100644", "a0"],
    ],
  ],
  [
    "names that only look special",
    [
      ["100644", "..."],
      ["100644", ".gitignore"],
      ["100644", "a.git"],
      ["100644", "git"],
    ],
  ],
  ["a name with bytes that are not UTF-8", [["100644", "\xff\xfe"]]],
])("a tree with %s is read", (_, rows) => {
  expect(parseTree(tree(...rows)).size).toBe(rows.length);
});

test.each<[string, Buffer, RegExp]>([
  ["a name twice", tree(["100644", "a"], ["100644", "a"]), /twice/],
  ["a file and a folder of one name", tree(["100644", "a"], ["100644", "a.b"], ["40000", "a"]), /twice/],
  ["names out of order", tree(["100644", "b"], ["100644", "a"]), /out of order/],
  ["a folder sorted like a file", tree(["40000", "a"], ["100644", "a.b"]), /out of order/],
  ["an empty name", tree(["100644", ""]), /name ''/],
  [".", tree(["40000", "."]), /name '\.'/],
  ["..", tree(["40000", ".."]), /name '\.\.'/],
  [".git", tree(["40000", ".git"]), /name '\.git'/],
  [".GIT", tree(["40000", ".GIT"]), /name '\.GIT'/],
  ["a slash in a name", tree(["100644", "a/b"]), /name 'a\/b'/],
  ["a mode with a leading zero", tree(["040000", "a"]), /mode 040000/],
  ["a group-writable file", tree(["100664", "a"]), /mode 100664/],
  ["a mode that is a property of objects", tree(["constructor", "a"]), /mode construc/],
  ["no mode", tree(["", "a"]), /unknown mode/],
  ["an id that is cut off", tree(["100644", "a"]).subarray(0, -1), /cut off/],
  ["a name without end", Buffer.from("100644 a"), /cut off/],
  ["no space", Buffer.from("100644"), /cut off/],
])("GC1 GC5 a tree with %s is refused", (_, bytes, message) => {
  expect(() => parseTree(bytes)).toThrow(error("SOURCE_FILE", message) as Error);
});

test("GC6 a tree with 100,001 entries is too large", () => {
  const rows = Array.from({ length: 100_001 }, (_, index): Row => ["100644", String(index).padStart(6, "0")]);
  expect(() => parseTree(tree(...rows))).toThrow(error("SOURCE_TOO_LARGE", /100000/) as Error);
});

test("any bytes are a tree or an AgentError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        parseTree(Buffer.from(bytes));
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(AgentError);
      }
    }),
    { numRuns: 500 },
  );
});
