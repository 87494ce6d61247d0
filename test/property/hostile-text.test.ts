import fc from "fast-check";
import { expect, test } from "vitest";
import { parseDomainPattern } from "../../agent/policy/domain.ts";
import { joinPointer } from "../../agent/policy/json-pointer.ts";
import { parseJsonText } from "../../agent/policy/json-text.ts";
import { patternText } from "../../agent/policy/pattern-text.ts";
import type { Issue, Policy } from "../../agent/policy/policy.ts";
import { parseDocument } from "../support/policy-text.ts";

const hostile = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.constantFrom(
    "a.example\n* CNAME rpz-passthru.",
    'h" accept\n    accept\n#',
    "a.example;",
    "$INCLUDE /etc/shadow",
    "$ORIGIN .",
    "$(id).example",
    "a.example { accept }",
    "a.example\u0000",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(150)}example`,
    "rpz-passthru.",
    "a.rpz-passthru",
    "\u202eelpmaxe.a",
    "１２７.0.0.1",
    "%61.example",
    "@",
    "(",
    "\\032.example",
    "../../etc/passwd",
  ),
);
const printable = /^[\x20-\x7e]+$/;
const word = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const plainName = /^(?:\*\.)?_?[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/;
const plainNetwork = /^[0-9a-f.:]+\/[0-9]+$/;

test("as a name it is refused in printable words, or becomes a plain name", () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const parsed = parseDomainPattern(text);
      if (parsed.ok) expect(patternText(parsed.value)).toMatch(plainName);
      else expect(`${parsed.message}${parsed.remedy}`).toMatch(printable);
    }),
    { numRuns: 1000 },
  );
});

const client = { sources: ["10.0.0.1"] };
const allowB = { allow: { domains: ["b.example"] } };
/** One document for each field that takes text. */
const fields: readonly ((text: string) => object)[] = [
  (text) => ({ version: 1, allow: { domains: [text] } }),
  (text) => ({ version: 1, allow: { ips: [text] } }),
  (text) => ({ version: 1, allow: { domains: ["b.example"], ports: [text] } }),
  (text) => ({ version: 1, ...allowB, labels: { [text]: "x" } }),
  (text) => ({ version: 1, ...allowB, labels: { "b.example": text } }),
  (text) => ({ version: 1, ...allowB, hosts: { [text]: client } }),
  (text) => ({ version: 1, ...allowB, hosts: { h: { sources: [text] } } }),
  (text) => ({ version: 1, allow: { domains: [{ domain: "b.example", label: text }] } }),
  (text) => ({ version: 1, allow: { domains: [{ domain: "b.example", reason: text }] } }),
  (text) => ({ version: 1, ...allowB, mode: text }),
  (text) => ({ version: 1, ...allowB, [text]: {} }),
];

function expectPlacesInside(issues: readonly Issue[], source: string): void {
  const lines = source.split("\n");
  expect(issues.length).toBeGreaterThan(0);
  for (const { place, message, remedy } of issues) {
    expect(place.column).toBeLessThanOrEqual((lines[place.line - 1] ?? "").length + 1);
    expect(`${message}${remedy}`).toMatch(printable);
  }
}

function expectPlain(policy: Policy): void {
  for (const { name, names, networks } of policy.groups) {
    expect(name).toMatch(name === "*" ? "*" : word);
    for (const rule of names) expect(patternText(rule.pattern)).toMatch(plainName);
    for (const rule of networks) expect(rule.network).toMatch(plainNetwork);
    for (const { label } of [...names, ...networks]) expect(label ?? "none").toMatch(word);
  }
  for (const { name, sources } of policy.hosts) {
    expect(name).toMatch(word);
    for (const source of sources) expect(source).toMatch(plainNetwork);
  }
}

test("in any field it is refused with a place inside the text, or is plain data in the policy", () => {
  fc.assert(
    fc.property(hostile, fc.constantFrom(...fields), (text, field) => {
      const source = JSON.stringify(field(text), null, 1);
      const result = parseDocument(source);
      if (result.ok) expectPlain(result.policy);
      else expectPlacesInside(result.issues, source);
    }),
    { numRuns: 2000 },
  );
});

/** Returns each value inside a value with its pointer, itself first. */
function* valuesOf(value: unknown, pointer: string): Generator<readonly [pointer: string, value: unknown]> {
  yield [pointer, value];
  if (value === null || typeof value !== "object") return;
  for (const [key, inner] of Object.entries(value)) yield* valuesOf(inner, joinPointer(pointer, key));
}

test("as JSON, what is accepted has the value that the platform reads, and each of its places lies in the text", () => {
  const spread = fc.json().map((json) => json.replaceAll(",", " ,\r\n "));
  fc.assert(
    fc.property(fc.oneof(fc.json(), spread, fc.string()), (json) => {
      const result = parseJsonText(Buffer.from(json), { file: "f" });
      if (!result.ok) return;
      expect(JSON.stringify(result.value)).toBe(JSON.stringify(JSON.parse(json)));
      const lines = json.split(/\r\n|[\r\n]/);
      for (const [pointer, value] of valuesOf(result.value, "")) {
        const { line, column } = result.locate(pointer);
        const first = JSON.stringify(value).charAt(0);
        // A number may be written in many ways, so only its kind is compared.
        expect(lines[line - 1]?.charAt(column - 1)).toMatch(/[-0-9]/.test(first) ? /[-0-9]/ : first);
      }
    }),
    { numRuns: 500 },
  );
});
