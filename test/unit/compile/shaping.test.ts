import { describe, expect, test } from "vitest";
import { hostBudgets, removeBudgets, spenders } from "../../../agent/compile/budgets.ts";
import { UNLIMITED } from "../../../agent/compile/marks.ts";
import { renderBudget, renderSpender, shapePolicy } from "../../../agent/compile/shaping.ts";
import type { Policy } from "../../../agent/policy/policy.ts";
import { policyOf } from "../../support/compile-samples.ts";

const place = { file: "policy.json", line: 1, column: 1, pointer: "" };
const host = (sources: readonly string[], kbps?: number): object => ({
  sources,
  ...(kbps === undefined ? {} : { limits: { egress_kbps: kbps } }),
});
const policyWith = (hosts: object, kbps?: number): Policy =>
  policyOf({ version: 1, allow: { domains: ["a.example"] }, hosts, ...host([], kbps), sources: undefined });
const elements = (policy: Policy): readonly string[] =>
  spenders(policy).map((spender) => renderSpender(spender).replace(/, #.*\n/, ""));

function markOf(policy: Policy, name: string): string {
  return `0x${hostBudgets(policy).get(name)?.mark.toString(16)}`;
}

describe("who spends from which budget", () => {
  test("all addresses of a host share one", () => {
    const policy = policyWith({ a: host(["10.0.0.1", "10.0.1.0/24", "fd00::/64"], 2000) });
    const mark = markOf(policy, "a");
    expect(elements(policy)).toEqual([
      `10.0.0.1 : ${mark}`,
      `10.0.1.0-10.0.1.255 : ${mark}`,
      `fd00::-fd00::ffff:ffff:ffff:ffff : ${mark}`,
    ]);
  });

  test("the most specific source wins, and a host without a limit is cut out of the one round it", () => {
    const policy = policyWith({
      wide: host(["10.0.0.0/30"], 10),
      one: host(["10.0.0.1"]),
      two: host(["10.0.0.2"], 20),
    });
    const [wide, two] = [markOf(policy, "wide"), markOf(policy, "two")];
    expect(elements(policy)).toEqual([`10.0.0.0 : ${wide}`, `10.0.0.2 : ${two}`, `10.0.0.3 : ${wide}`]);
  });

  test("with a limit for clients in no entry, hosts without one are named as such", () => {
    const policy = policyWith({ free: host(["10.0.0.1"]) }, 500);
    expect(elements(policy)).toEqual([`10.0.0.1 : 0x${UNLIMITED.toString(16)}`]);
  });

  test("nobody is named where nobody is limited", () => {
    const policy = policyWith({ free: host(["10.0.0.1"]) });
    expect(elements(policy)).toEqual([]);
    const chains = ["over_limit", "spend", "shape", "shape_proxied"].map(
      (chain) => `flush chain inet clawgress ${chain}\n`,
    );
    expect(shapePolicy(policy).chains).toBe(chains.join(""));
  });
});

describe("what a budget is", () => {
  test("a kilobit is 1,000 bits", () => {
    expect(renderBudget({ mark: 0x4000_0001, egressKbps: 2000, place })).toBe(
      "0x40000001 limit rate over 250000 bytes/second burst 131072 bytes, # policy.json:1\n",
    );
  });

  test("the same host and rate keep their mark whatever else changes; another rate is another budget", () => {
    const before = policyWith({ a: host(["10.0.0.1"], 2000) });
    const same = policyWith({ a: host(["10.0.0.9"], 2000), b: host(["10.0.0.2"], 2000) }, 500);
    const other = policyWith({ a: host(["10.0.0.1"], 2001) });
    expect(markOf(same, "a")).toBe(markOf(before, "a"));
    expect(markOf(same, "b")).not.toBe(markOf(same, "a"));
    expect(markOf(other, "a")).not.toBe(markOf(before, "a"));
  });

  test.each([0, 0.5, 100_000_001, Number.NaN])("%d kbit/s is never written", (egressKbps) => {
    expect(() => renderBudget({ mark: 0x4000_0001, egressKbps, place })).toThrow(RangeError);
  });
});

describe("budgets that go", () => {
  const policy = policyWith({ a: host(["10.0.0.1"], 2000) });
  const [kept = 0] = [...hostBudgets(policy).values()].map(({ mark }) => mark);
  test.each<[string, readonly number[], string]>([
    ["none, when the kernel has none", [], ""],
    ["none, when the policy still has them", [kept], ""],
    ["what somebody else put there", [kept, 1], "{\n0x00000001\n}"],
    ["those of another policy", [0x4000_0009, kept, 0x4000_0002], "{\n0x40000002,\n0x40000009\n}"],
  ])("%s", (_, kernel, want) => {
    expect(removeBudgets(kernel, policy)).toBe(want && `delete element inet clawgress budgets ${want}\n`);
  });

  test.each([-1, 0.5, 0x1_0000_0000])("%d is no mark and never written", (mark) => {
    expect(() => removeBudgets([mark], policy)).toThrow(RangeError);
  });
});

test("nothing in the chains accepts", () => {
  expect(shapePolicy(policyWith({}, 500)).chains).not.toMatch(/accept|reject|queue|dnat|snat/);
});
