import { readFileSync } from "node:fs";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { refusePath, renderLock } from "../../agent/trust/lock.ts";
import { parseLock } from "../../agent/trust/parse-lock.ts";
import { parseRoot } from "../../agent/trust/parse-root.ts";
import { parsePublicKey } from "../../agent/trust/ssh-key.ts";
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
    [{ part: "payments" }],
    [{ part: "../payments" }],
    [{ part: "" }],
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
        "Locks",
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
  const fingerprints = Object.values(keys).map(([line = ""]) => {
    const parsed = parsePublicKey(line);
    return parsed.ok ? parsed.value.fingerprint : "";
  });
  const dated = (expires: string) => ({ ...good.principals, bob: { keys: [{ key: keys.bob[0], expires }] } });
  const certified = (changes: object, twice = false) => {
    const certificates = [{ authority: "corp", identity: "bob@example.com", ...changes }];
    const alice = { keys: keys.alice, ...(twice ? { certificates } : {}) };
    return { authorities: { corp: makeSigner().publicLine }, principals: { alice, bob: { certificates } } };
  };
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
    ["fewer to tighten", { roles: { ...good.roles, policy: { ...role, tighten: 1 } } }],
    ["nobody to tighten", { roles: { ...good.roles, policy: { ...role, tighten: 0 } } }],
    ["fewer to tighten a root", { roles: { ...good.roles, root: { ...role, tighten: 1 } } }],
    ["a key that expires", { principals: dated("2027-06-30T00:00:00Z") }],
    ["a key that expires on a day without time", { principals: dated("2027-06-30") }],
    ["a principal with certificates alone", certified({})],
    ["a certificate of nobody", certified({ identity: "" })],
    ["a revoked key", { revoked: [`SHA256:${"a".repeat(43)}`] }],
    ["a revoked key in another spelling", { revoked: ["MD5:aa:bb"] }],
    ["void serials", { serials: { void: 100, restart: 7 } }],
    ["void serials without a restart", { serials: { void: 100 } }],
    ["a rule by files", { rules: [{ name: "a", files: ["teams/*.json"], ...role }] }],
    [
      "a rule by hosts and their sources",
      { rules: [{ name: "a", hosts: ["pay-*"], sources: ["10.0.0.0/8"], ...role }] },
    ],
    ["a rule by nothing", { rules: [{ name: "a", ...role }] }],
    ["a rule with sources but no hosts", { rules: [{ name: "a", files: ["x"], sources: ["10.0.0.0/8"], ...role }] }],
    ["a rule with its own lock", { rules: [{ name: "a", files: ["x"], lock: true, ...role }] }],
    ["a rule with its own lock and no files", { rules: [{ name: "a", hosts: ["x"], lock: true, ...role }] }],
    ["a rule for a pattern with a space", { rules: [{ name: "a", files: ["x y"], ...role }] }],
    ["no rules", { rules: [] }],
    ["an unknown role", { roles: { ...good.roles, admin: role } }],
  ];
  test.each(agreed)("agrees with the parser on %s", (_what, changes) => {
    const value = { ...good, ...changes };
    expect(isRoot(value)).toBe(parseRoot(Buffer.from(JSON.stringify(value)), "x").ok);
  });
  const beyond: readonly (readonly [string, object])[] = [
    ["a threshold above the number of people", { roles: { ...good.roles, policy: { ...role, threshold: 3 } } }],
    ["more to tighten than to widen", { roles: { ...good.roles, policy: { ...role, threshold: 1, tighten: 2 } } }],
    ["a role whose keys are all revoked", { revoked: fingerprints, roles: { ...good.roles } }],
    ["a threshold that only revoked keys reach", { revoked: fingerprints.slice(0, 1) }],
    ["a certificate of an unknown authority", { ...certified({ authority: "other" }) }],
    ["a name of a certificate for two people", { ...certified({}, true) }],
    ["a restart above what is void", { serials: { void: 100, restart: 100 } }],
    ["a day that does not exist", { principals: dated("2027-02-30T00:00:00Z") }],
    ["two rules of one name", { rules: [1, 2].map(() => ({ name: "a", files: ["x"], ...role })) }],
    ["a source that is no network", { rules: [{ name: "a", hosts: ["x"], sources: ["10.0.0.1/8"], ...role }] }],
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
