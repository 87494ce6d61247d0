import { describe, expect, test } from "vitest";
import { comparePolicies } from "../../../agent/policy/compare-policies.ts";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { describeChanges } from "../../../agent/policy/describe-changes.ts";
import { limitsOf } from "../../../agent/policy/limits.ts";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import { policyOf } from "../../support/compile-samples.ts";

const allow = { domains: ["a.example"] };
const limits = (egress_kbps: number): object => ({ egress_kbps });

function policyWith(global: object | undefined, hosts: { readonly [name: string]: object | undefined } = {}) {
  const entries = Object.entries(hosts).map(([name, own], index) => [
    name,
    { sources: [`10.0.${index}.0/24`, `fd00:0:0:${index}::/64`], ...(own === undefined ? {} : { limits: own }) },
  ]);
  return policyOf({
    version: 1,
    allow,
    ...(global === undefined ? {} : { limits: global }),
    hosts: Object.fromEntries(entries),
  });
}

describe("who is held to which limit", () => {
  const policy = policyWith(limits(500), { limited: limits(2000), free: undefined });
  const decider = buildDecider(policy);
  test.each<[string, string, number | null]>([
    ["a host with a limit", "10.0.0.7", 2000],
    ["the same host over IPv6", "fd00::7", 2000],
    ["a host without one: the global limit is not for those with an entry", "10.0.1.7", null],
    ["a client in no entry: the global limit", "10.9.9.9", 500],
  ])("%s", (_, address, want) => {
    expect(limitsOf(policy, decider.clientOf(address))?.egressKbps ?? null).toBe(want);
  });
});

test("a limit knows the line it is written in", () => {
  expect(policyWith(limits(500)).limits?.place).toMatchObject({ line: 9, pointer: "/limits/egress_kbps" });
});

test.each<[string, object]>([
  ["the global limits", { limits: {} }],
  ["a host's limits", { hosts: { h: { sources: ["10.0.0.1"], limits: {} } } }],
])("%s that set nothing are warned of", (_, rest) => {
  const result = parsePolicy(Buffer.from(JSON.stringify({ version: 1, allow, ...rest })), "policy.json");
  expect(result).toMatchObject({ ok: true, warnings: [{ message: "these limits set none" }] });
});

test.each<[unknown]>([[0], [-1], [1.5], ["2000"], [100_000_001], [null]])("%j is no rate", (egress_kbps) => {
  const document = { version: 1, allow, limits: { egress_kbps } };
  expect(parsePolicy(Buffer.from(JSON.stringify(document)), "policy.json")).toMatchObject({ ok: false });
});

test("a change of limits is told, host by host", () => {
  const before = policyWith(undefined, { a: limits(1), b: limits(2), c: undefined });
  const after = policyWith(limits(9), { a: limits(1), b: undefined, c: limits(3), d: limits(4) });
  expect(describeChanges(comparePolicies(before, after))).toEqual([
    "+ host d",
    "~ each client in no host entry may send 9 kbit/s (before: no limit)",
    "~ host b may send no limit (before: 2 kbit/s)",
    "~ host c may send 3 kbit/s (before: no limit)",
    "~ host d may send 4 kbit/s (before: no limit)",
  ]);
});
