import { expect, test } from "vitest";
import { parseCommitObject } from "../../../agent/trust/commit-object.ts";

const OID = "0123456789abcdef0123456789abcdef01234567";
const OTHER = "f".repeat(40);
const tree = `tree ${OID}\n`;
const people = "author A <a@b> 0 +0000\ncommitter C <c@d> 0 +0000\n";
const parse = (text: string) => parseCommitObject(Buffer.from(text, "latin1"));

test.each([
  ["a root", `${tree}${people}\nm\n`, [], null],
  ["no message at all", `${tree}${people}\n`, [], null],
  ["parents in their order", `${tree}parent ${OTHER}\nparent ${OID}\n${people}\nm`, [OTHER, OID], null],
  ["a message that begins like a header", `${tree}${people}\ntree ${OTHER}\ngpgsig x\n`, [], null],
  [
    "two merged tags, and notes of another program",
    `${tree}${people}mergetag a\n b\nmergetag c\nchange-id x\n\nm`,
    [],
    null,
  ],
  ["a signature before other headers", `${tree}${people}gpgsig a\n b\n \n c\nencoding x\n\nm`, [], "a\nb\n\nc\n"],
])("%s is a commit", (_, text, parents, armored) => {
  const parsed = parse(text);
  expect(parsed).toMatchObject({ ok: true, value: { tree: OID, parents, committer: "C <c@d> 0 +0000" } });
  if (!parsed.ok) return;
  expect(parsed.value.signature?.armored.toString() ?? null).toBe(armored);
  const payload = text.replace("gpgsig a\n b\n \n c\n", "");
  if (armored !== null) expect(parsed.value.signature?.payload.toString()).toBe(payload);
});

test.each([
  ["nothing", "", /no empty line/],
  ["no empty line", `${tree}${people}`, /no empty line/],
  ["no tree", `${people}\nm`, /one tree header/],
  ["another first line", `parent ${OTHER}\n${tree}${people}\nm`, /one tree header/],
  ["a short name", `tree ${OID.slice(1)}\n${people}\nm`, /one tree header/],
  ["a name in capitals", `tree ${OTHER.toUpperCase()}\n${people}\nm`, /one tree header/],
  ["a carriage return behind the tree", `tree ${OID}\r\n${people}\nm`, /one tree header/],
  ["a second tree", `${tree}${tree}${people}\nm`, /author and committer/],
  ["a second tree behind the people", `${tree}${people}${tree}\nm`, /misplaced tree/],
  ["a tree in capitals behind the people", `${tree}${people}TREE ${OTHER}\n\nm`, /misplaced tree/],
  ["a parent behind the people", `${tree}${people}parent ${OTHER}\n\nm`, /misplaced parent/],
  ["a parent that is none", `${tree}parent x\n${people}\nm`, /not the name of a commit/],
  ["a parent twice", `${tree}parent ${OTHER}\nparent ${OTHER}\n${people}\nm`, /a parent twice/],
  ["65 parents", `${tree}${parentLines(65)}${people}\nm`, /more than 64 parents/],
  ["the committer first", `${tree}committer C <c@d> 0 +0000\nauthor A <a@b> 0 +0000\n\nm`, /author and committer/],
  ["two authors", `${tree}author A <a@b> 0 +0000\n${people}\nm`, /author and committer/],
  ["two committers", `${tree}${people}committer E <e@f> 0 +0000\n\nm`, /misplaced committer/],
  ["an author in two lines", `${tree}author A <a@b> 0 +0000\n more\ncommitter C <c@d> 0 +0000\n\nm`, /second line/],
  ["two encodings", `${tree}${people}encoding a\nencoding b\n\nm`, /second encoding/],
  ["two signatures", `${tree}${people}gpgsig a\ngpgsig b\n\nm`, /second gpgsig/],
  ["a signature of a SHA-256 repository", `${tree}${people}gpgsig-sha256 a\n\nm`, /gpgsig-sha256/],
  ["a header without a value", `${tree}${people}gpgsig\n\nm`, /no value/],
  ["a header without a name", `${tree}${people}?\n\nm`, /no name/],
  ["a NUL in a header", `${tree}${people}x \0\n\nm`, /NUL/],
  ["a NUL in the message", `${tree}${people}\nm\0`, /NUL/],
])("%s is malformed", (_, text, why) => {
  expect(parse(text)).toMatchObject({ ok: false, why: expect.stringMatching(why) });
});

test("a commit over 1 MiB, or with 257 kinds of headers, is refused", () => {
  expect(parse(`${tree}${people}\n${"x".repeat(1024 * 1024)}`)).toMatchObject({ ok: false });
  const headers = Array.from({ length: 257 }, (_, index) => `x${index} y\n`).join("");
  expect(parse(`${tree}${people}${headers}\nm`)).toMatchObject({ ok: false });
});

function parentLines(count: number): string {
  return Array.from({ length: count }, (_, index) => `parent ${index.toString(16).padStart(40, "0")}\n`).join("");
}
