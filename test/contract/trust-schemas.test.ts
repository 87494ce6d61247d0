import { readFileSync } from "node:fs";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { refusePath, renderLock } from "../../agent/trust/lock.ts";
import { parseLock } from "../../agent/trust/parse-lock.ts";
import { parseRoot } from "../../agent/trust/parse-root.ts";
import { makeSigner, rootJson } from "../support/trust.ts";

interface Schema {
  readonly examples: readonly unknown[];
}
const read = (name: string): Schema =>
  JSON.parse(readFileSync(new URL(`../../policy-schema/${name}.schema.json`, import.meta.url), "utf8")) as Schema;
const compile = (schema: Schema): ValidateFunction =>
  new Ajv2020({ strict: true, allowMatchingProperties: true, strictRequired: false }).compile(schema);

const lockSchema = read("lock");
const rootSchema = read("root");
const isLock = compile(lockSchema);
const isRoot = compile(rootSchema);

const digest = "ab".repeat(32);
const lock = {
  version: 1,
  repository: "egress",
  branch: "main",
  group: "default",
  serial: 7,
  files: { "policy.json": digest },
} as const;
const parses = (value: typeof lock): boolean => parseLock(renderLock(value)).ok;

describe("the schema of the lock", () => {
  test("accepts its own examples, and so does the parser", () => {
    for (const example of lockSchema.examples) {
      expect(isLock(example)).toBe(true);
      expect(parses(example as typeof lock)).toBe(true);
    }
  });
  test.each([
    [{}],
    [{ version: 2 }],
    [{ serial: 0 }],
    [{ serial: 2 ** 53 }],
    [{ serial: 1.5 }],
    [{ repository: "a b" }],
    [{ repository: "" }],
    [{ repository: "x".repeat(64) }],
    [{ group: ".x" }],
    [{ branch: "feature/a" }],
    [{ branch: "a..b" }],
    [{ branch: "a/.b" }],
    [{ branch: "a.lock" }],
    [{ branch: "a/" }],
    [{ branch: "-a" }],
    [{ files: {} }],
    [{ files: { a: "AB".repeat(32) } }],
  ])("agrees with the parser on %j", (changes) => {
    const value = { ...lock, ...changes } as unknown as typeof lock;
    expect(isLock(value)).toBe(parses(value));
  });
  test("agrees with the parser on every path", () => {
    const step = fc.oneof(
      fc.constantFrom(
        "..",
        ".",
        "",
        ".git",
        ".GIT",
        "git~1",
        "approvals",
        "trust",
        "clawgress.lock.json",
        "policy.json",
        "a b",
      ),
      fc.string({ maxLength: 6 }),
      fc.string({ unit: "binary", maxLength: 3 }),
    );
    const path = fc.array(step, { minLength: 1, maxLength: 4 }).map((steps) => steps.join("/"));
    fc.assert(
      fc.property(path, (text) => {
        expect(isLock({ ...lock, files: Object.fromEntries([[text, digest]]) })).toBe(refusePath(text) === null);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the schema of the root", () => {
  const keys = { alice: [makeSigner().publicLine], bob: [makeSigner().publicLine] };
  const good = rootJson(keys, 2);
  const role = good.roles.policy;
  test("accepts its own examples, and so does the parser", () => {
    for (const example of rootSchema.examples) {
      expect(isRoot(example)).toBe(true);
      expect(parseRoot(Buffer.from(JSON.stringify(example)), "x")).toMatchObject({ ok: true });
    }
  });
  const agreed: readonly (readonly [string, object])[] = [
    ["a good one", {}],
    ["a schema reference", { $schema: "x" }],
    ["version 2", { version: 2 }],
    ["root 0", { root: 0 }],
    ["an unknown key", { insecure: true }],
    ["no principals", { principals: {} }],
    ["a principal without keys", { principals: { ...good.principals, bob: { keys: [] } } }],
    ["a principal with capitals", { principals: { ...good.principals, Carol: { keys: keys.bob } } }],
    ["a certificate", { principals: { ...good.principals, bob: { keys: ["ssh-ed25519-cert-v01@openssh.com AAAA"] } } }],
    ["a key with options", { principals: { ...good.principals, bob: { keys: [`cert-authority ${keys.bob[0]}`] } } }],
    ["a threshold of 0", { roles: { ...good.roles, policy: { ...role, threshold: 0 } } }],
    ["an empty role", { roles: { ...good.roles, policy: { ...role, principals: [] } } }],
    ["somebody twice", { roles: { ...good.roles, policy: { principals: ["bob", "bob"], threshold: 1 } } }],
    ["no role root", { roles: { policy: role } }],
    ["the role freshness", { roles: { ...good.roles, freshness: { principals: ["bob"], threshold: 1 } } }],
    ["an unknown role", { roles: { ...good.roles, admin: role } }],
  ];
  test.each(agreed)("agrees with the parser on %s", (_what, changes) => {
    const value = { ...good, ...changes };
    expect(isRoot(value)).toBe(parseRoot(Buffer.from(JSON.stringify(value)), "x").ok);
  });
  const beyond: readonly (readonly [string, object])[] = [
    ["a threshold above the number of people", { roles: { ...good.roles, policy: { ...role, threshold: 3 } } }],
    ["somebody unknown", { roles: { ...good.roles, policy: { principals: ["carol"], threshold: 1 } } }],
    ["one key for two people", { principals: { ...good.principals, bob: { keys: keys.alice } } }],
    ["a key with nothing in it", { principals: { ...good.principals, bob: { keys: ["ssh-ed25519 AAAA"] } } }],
  ];
  test.each(beyond)("leaves %s to the parser, which refuses it", (_what, changes) => {
    const value = { ...good, ...changes };
    expect(isRoot(value)).toBe(true);
    expect(parseRoot(Buffer.from(JSON.stringify(value)), "x").ok).toBe(false);
  });
});
