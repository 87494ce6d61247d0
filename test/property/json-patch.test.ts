import fc from "fast-check";
import { expect, test } from "vitest";
import { patchJsonText } from "../../agent/policy/json-patch.ts";
import { type JsonDocument, parseJsonText } from "../../agent/policy/json-text.ts";

const options = { file: "policy.json" };

function read(text: string): { readonly bytes: Buffer; readonly document: JsonDocument } {
  const bytes = Buffer.from(text);
  const document = parseJsonText(bytes, options);
  if (!document.ok) throw new Error(text);
  return { bytes, document };
}

const word = fc.string({ unit: fc.constantFrom(...'ab.*-\\"/ é'), maxLength: 6 });
const value = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    word,
    fc.integer(),
    fc.boolean(),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom("a", "b", "c"), tie("any")),
  ),
})).any;
const document = fc.record({ first: value, list: fc.array(word, { minLength: 1, maxLength: 6 }), last: value });
const indent = fc.constantFrom(0, 1, 2);

function expectSame(known: string, next: string): boolean {
  const bytes = Buffer.from(next);
  const patched = patchJsonText(read(known), bytes, options);
  if (patched === null) return false;
  const whole = parseJsonText(bytes, options);
  expect(whole.ok).toBe(true);
  if (!whole.ok) return false;
  expect(patched.document.value).toEqual(whole.value);
  expect(patched.document.spot).toEqual(whole.spot);
  expect(patched.document.lineStarts).toEqual(whole.lineStarts);
  const { list, index, texts, count } = patched.patch;
  const found = list.reduce<unknown>((inner, key) => (inner as { [key: string]: unknown })[key], whole.value);
  expect((found as readonly unknown[]).slice(index, index + texts.length)).toEqual(texts);
  expect(found).toHaveLength(count);
  return true;
}

test("a text in which some strings of a list are others, more or fewer, is read as the whole of it is", () => {
  let count = 0;
  const numbers = fc.tuple(fc.nat(), fc.nat(3), fc.array(word, { maxLength: 3 }), indent);
  fc.assert(
    fc.property(document, numbers, ({ first, list, last }, [at, removed, others, spaces]) => {
      const text = (words: readonly string[]): string => JSON.stringify({ first, list: words, last }, null, spaces);
      const next = list.toSpliced(at % (list.length + 1), removed, ...others);
      const isPatched = expectSame(text(list), text(next));
      const isPlain = /^[\x20-\x7e\n]*$/.test(text(list) + text(next)) && text(list) !== text(next);
      if (isPlain && !(text(list) + text(next)).includes("\\")) expect(isPatched).toBe(true);
      if (isPatched) count += 1;
    }),
    { numRuns: 3000, examples: [[{ first: "", list: ["", ""], last: "" }, [0, 2, ['"'], 0]]] },
  );
  expect(count).toBeGreaterThan(300);
});

test("whatever else changes in a text, it is read as the whole of it is, or not at all", () => {
  const characters = fc.string({ unit: fc.constantFrom(...'ab\\",[]{}:1 \n\r'), maxLength: 4 });
  fc.assert(
    fc.property(document, indent, fc.nat(), fc.nat(6), characters, (content, spaces, from, removed, inserted) => {
      const text = JSON.stringify(content, null, spaces);
      const at = from % text.length;
      expectSame(text, text.slice(0, at) + inserted + text.slice(at + removed));
    }),
    { numRuns: 5000 },
  );
});
