import { describe, expect, test } from "vitest";
import { formatTextIssue, parseJsonText } from "../../../agent/policy/json-text.ts";

const read = (text: string | Buffer, maxBytes = 1000) =>
  parseJsonText(Buffer.from(text as string), { file: "f", maxBytes });
const refusal = (text: string | Buffer): readonly string[] => {
  const result = read(text);
  return result.ok ? [] : result.issues.map(formatTextIssue);
};

test.each([
  ["nothing", "", "f:1:1: the text is empty"],
  ["a byte order mark", "\ufeff{}", "f:1:1: the file begins with a byte order mark"],
  [
    "GC14 an LFS pointer",
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "f:1:1: the file is a Git LFS pointer",
  ],
  ["UTF-16", Buffer.from("{}", "utf16le"), "f:1:1: the file is UTF-16 or UTF-32"],
  ["UTF-16 with a mark", Buffer.from("\ufeff{}", "utf16le"), "f:1:1: the file is UTF-16 or UTF-32"],
  ["invalid UTF-8", Buffer.from([0x7b, 0x0a, 0x22, 0xff, 0x22]), "f:2:2: the bytes are not valid UTF-8"],
  ["a surrogate in UTF-8", Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), "f:1:2: the bytes are not valid UTF-8"],
  ["an overlong slash", Buffer.from([0x22, 0xc0, 0xaf, 0x22]), "f:1:2: the bytes are not valid UTF-8"],
  ["a raw line feed in a string", '{"a":"b\nc"}', "f:1:8: a string contains the raw control character U+000A"],
  ["an escaped NUL", '{"a":"\\u0000"}', "f:1:6: the string contains the forbidden character U+0000"],
  ["an escaped line feed in a key", '{"a\\nb":1}', "f:1:2: the key contains the forbidden character U+000A"],
  ["half a surrogate pair", '"\\ud800"', "f:1:1: the string contains the forbidden character U+D800"],
  ["a direction override", '"a\u202eb"', "f:1:1: the string contains the forbidden character U+202E"],
  ["a comment", "{} // why", "f:1:4: JSON has no comments"],
  ["a comma before a brace", '{"a":1,\n}', "f:2:1: a comma stands before }"],
  ["a comma before a bracket", "[1,]", "f:1:4: a comma stands before ]"],
  ["a missing comma", '{"a":1\n "b":2}', 'f:2:2: "\\"" is not expected here'],
  ["a missing colon", '{"a" 1}', 'f:1:6: "1" is not expected here'],
  ["single quotes", "{'a':1}", "f:1:2: a single quote is no JSON"],
  ["a second value", "{} {}", 'f:1:4: "{" is not expected here'],
  ["an open string", '"abc', "f:1:5: the text ends before the JSON is complete"],
  ["an open list", "[1,\n", "f:2:1: the text ends before the JSON is complete"],
  ["an open object", '{"a":', "f:1:6: the text ends before the JSON is complete"],
  ["a number without end", "[1.", "f:1:4: the text ends before the JSON is complete"],
  ["a vertical tab", "\u000b1", 'f:1:1: "\\u000b" is not expected here'],
  ["NaN", "NaN", 'f:1:1: "N" is not expected here'],
  ["an infinite number", "1e999", "f:1:1: the number is too large to be exact"],
  ["an inexact number", "9007199254740993", "f:1:1: the number is too large to be exact"],
  ["too deep nesting", "[".repeat(65), "f:1:65: there are more than 64 levels of nesting"],
  ["100,000 brackets", `[${" ".repeat(1000)}`, "f:1:1: the file has 1001 bytes; at most 1000 are read"],
])("GC9 GC11 %s is refused with its place", (_name, text, expected) => {
  expect(refusal(text).join("\n")).toContain(expected);
});

test("GC7 a key that stands twice is refused with both places, once for each repetition", () => {
  expect(refusal('{"a":1,\n "b":{"c":1,"c":2},\n "a":3}')).toEqual([
    'f:2:13: the key "c" stands twice; the first is at line 2, column 7; keep one of them',
    'f:3:2: the key "a" stands twice; the first is at line 1, column 2; keep one of them',
  ]);
  expect(refusal('{"a":1,"\\u0061":2}')).toHaveLength(1);
});

test("the issues of a hostile text are bounded", () => {
  const result = parseJsonText(Buffer.from(`[${'"\\u0000",'.repeat(50_000)}1]`), { file: "f" });
  expect(result.ok ? [] : result.issues).toHaveLength(100);
});

test.each(["__proto__", "constructor", "toString", "hasOwnProperty"])("GC8 the key %s is data", (key) => {
  const result = read(`{"${key}": {"polluted": true}}`);
  expect(result.ok && Object.getPrototypeOf(result.value)).toBeNull();
  expect(result.ok && Object.keys(result.value as object)).toEqual([key]);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

describe("places", () => {
  const text = '{\r\n  "a/b": [10, {"~": "é\\""}],\n  "x": [ ]\r, "y": {}}';
  const document = read(text);
  const at = (pointer: string, part?: "key"): string => {
    if (!document.ok) throw new Error("the text is valid");
    const { line, column } = document.locate(pointer, part);
    return `${line}:${column}`;
  };

  test.each([
    ["", "1:1"],
    ["/a~1b", "2:10"],
    ["/a~1b/0", "2:11"],
    ["/a~1b/1", "2:15"],
    ["/a~1b/1/~0", "2:21"],
    ["/x", "3:8"],
    ["/y", "4:8"],
    ["/y/none", "4:8"],
    ["/none/x", "1:1"],
    ["/y/none/deeper/x", "4:8"],
    ["/a~1b/7/deep", "2:10"],
  ])("%j is at %s", (pointer, expected) => expect(at(pointer)).toBe(expected));

  test("a key has a place of its own", () => {
    expect(at("/a~1b", "key")).toBe("2:3");
    expect(at("/y", "key")).toBe("4:3");
    expect(at("/a~1b/0", "key")).toBe("2:11");
  });
});
