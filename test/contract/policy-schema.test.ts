import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import type { Json } from "../../agent/errors.ts";
import { validate } from "../../agent/policy/policy-validator.generated.mjs";

type Schema = { readonly [keyword: string]: Json };
const root = new URL("../../", import.meta.url);
const schema = JSON.parse(readFileSync(new URL("policy-schema/policy.schema.json", root), "utf8")) as Schema;

/** Every object of the schema that describes a value, with its path. */
function* subschemas(value: Json, path: string): Generator<readonly [path: string, schema: Schema]> {
  if (Array.isArray(value)) return;
  if (value === null || typeof value !== "object") return;
  const object = value as Schema;
  const isSchema =
    ["type", "$ref", "enum", "const"].some((key) => typeof object[key] !== "undefined") && !path.endsWith("properties");
  if (isSchema) yield [path, object];
  for (const [key, inner] of Object.entries(object)) {
    if (key !== "examples" && key !== "default") yield* subschemas(inner, `${path}/${key}`);
  }
}

test("every part of the schema says in words what to write, because errors quote it", () => {
  const all = [...subschemas(schema, "")];
  expect(all.length).toBeGreaterThan(60);
  const silent = all.filter(([, part]) => part["$ref"] === undefined && typeof part["description"] !== "string");
  expect(silent.map(([path]) => path)).toEqual([]);
});

test("every example of the schema is valid where it stands", () => {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true });
  const defs = schema["$defs"] as Schema;
  let count = 0;
  for (const [path, part] of subschemas(schema, "")) {
    for (const example of (part["examples"] ?? []) as readonly Json[]) {
      count++;
      const { $id: _id, ...own } = part;
      expect(
        ajv.validate({ ...own, $defs: defs }, example),
        `${path}: ${JSON.stringify(example)}: ${ajv.errorsText()}`,
      ).toBe(true);
    }
  }
  expect(count).toBeGreaterThan(10);
});

test("the richest file of the format has the right shape", () => {
  const window = { days: ["mon", "fri"], start: "22:00", end: "06:00:30", tz: "Europe/Berlin" };
  const allow = {
    domains: [
      "a.example",
      {
        domain: "b.example",
        ports: [443],
        label: "x",
        owner: "o",
        reason: "r",
        ticket: "t",
        expires: "2027-01-01",
        answers: ["10.0.0.0/8"],
      },
    ],
    ips: ["192.0.2.0/24", { network: "192.0.2.1", label: "x" }],
    ports: [443, "8000-8100/udp"],
    subdomains: true,
  };
  const proxy = {
    mode: "sni-allowlist",
    backend: "haproxy",
    domains: ["a.example"],
    mtls: { enabled: true, ca_certificate: "ca", server_certificate: "gw" },
  };
  const document = {
    version: 1,
    mode: "audit",
    allow,
    deny: { domains: ["evil.example"], ips: ["192.0.2.9"] },
    labels: { "a.example": "x" },
    proxy,
    limits: { egress_kbps: 2000 },
    time_window: window,
    domain_time_windows: { "a.example": window },
    groups: { llm: allow },
    include: ["policies/llm.json"],
    dns: { forward: { "corp.example": ["10.0.0.53"], lab: { resolvers: ["10.0.0.54"], answers: ["10.0.0.0/8"] } } },
    tests: [{ from: "h", to: "a.example:443", expect: "allow" }],
    hosts: {
      h: {
        sources: ["10.0.0.1"],
        mode: "enforce",
        allow: { ...allow, inherit: true, groups: ["llm"] },
        deny: {},
        proxy,
        limits: { egress_kbps: 1 },
        time_window: window,
        domain_time_windows: {},
        exfil: { domains: { "a.example": { bytes: 1, period: "hour" } } },
      },
    },
  };
  expect(validate(document), JSON.stringify(validate.errors)).toBe(true);
});

test("the errors of a validator are bounded, those of the next call are its own", () => {
  expect(validate({ version: 1, allow: { domains: Array.from({ length: 100_000 }, () => 1) } })).toBe(false);
  expect(validate.errors).toHaveLength(1000);
  expect(validate({ version: 1, bad: 1 })).toBe(false);
  expect(validate.errors).toHaveLength(1);
  expect(validate({ version: 1 })).toBe(true);
  expect(validate.errors).toBeNull();
});

test("the committed validators are current", () => {
  expect(execFileSync("node", ["packaging/generate.mjs", "--check"], { cwd: root, encoding: "utf8" })).toBe("");
});
