import { expect, test } from "vitest";
import { boundHostRules } from "../../../agent/compile/bound-hosts.ts";
import { policyOf } from "../../support/compile-samples.ts";

const one = "02:00:00:00:00:01";
const two = "02:00:00:00:00:02";
const host = (...sources: readonly string[]) => ({ sources, allow: { domains: ["a.example.com"] } });
const policy = policyOf({
  version: 1,
  hosts: {
    web: host("10.0.0.1", "2001:db8::1"),
    "web-too": host("10.0.0.2", "10.0.0.3", "2001:db8:0:1::/64"),
    old: host("10.0.0.9"),
    segment: host("10.1.0.0/24"),
    within: host("10.1.0.7"),
  },
});
const onlyMac = (mac: string) => ({ interface: null, mac });
const linkSources6 = "fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

/** What follows the rules of the addresses. */
function machineRules(bindings: Parameters<typeof boundHostRules>[1]): readonly string[] {
  const lines = boundHostRules(policy, bindings).split("\n");
  return lines.filter((line) => line.startsWith("add rule inet clawgress bound ether saddr {"));
}

test("a bound machine has the addresses of all its hosts, what its link needs, and no other", () => {
  expect(machineRules({ web: onlyMac(one), "web-too": onlyMac(one) })).toEqual([
    `add rule inet clawgress bound ether saddr { ${one} } ether saddr . ip saddr != { ${one} . 0.0.0.0, ${one} . 10.0.0.1-10.0.0.3 } goto refuse_bound`,
    `add rule inet clawgress bound ether saddr { ${one} } ether saddr . ip6 saddr != { ${one} . ::, ${one} . 2001:db8::1, ${one} . 2001:db8:0:1::-2001:db8:0:1:ffff:ffff:ffff:ffff, ${one} . ${linkSources6} } goto refuse_bound`,
  ]);
});

test("the addresses of a longer prefix are its own host's, for the machine and for what others may not use", () => {
  const [rule4] = machineRules({ segment: onlyMac(two) });
  expect(rule4).toContain(`!= { ${two} . 0.0.0.0, ${two} . 10.1.0.0-10.1.0.6, ${two} . 10.1.0.8-10.1.0.255 }`);
  const text = boundHostRules(policy, { segment: onlyMac(one), within: onlyMac(two) });
  expect(text).toContain(`ip saddr { 10.1.0.0-10.1.0.6, 10.1.0.8-10.1.0.255 } ether saddr != ${one} goto`);
  expect(text).toContain(`ip saddr { 10.1.0.7 } ether saddr != ${two} goto`);
});

test("a machine whose hosts have no IPv6 address has none", () => {
  const [, rule6] = machineRules({ old: onlyMac(two) });
  expect(rule6).toContain(`{ ${two} . ::, ${two} . ${linkSources6} }`);
});

test("there are two rules, however many machines there are, the same whatever order they are written in", () => {
  const forth = machineRules({ web: onlyMac(one), old: onlyMac(two), "web-too": onlyMac(one) });
  const back = machineRules({ "web-too": onlyMac(one), old: onlyMac(two), web: onlyMac(one) });
  expect(forth).toHaveLength(2);
  expect(back).toEqual(forth);
});

test("an interface alone binds no machine, and a host that the policy has not binds nothing", () => {
  expect(machineRules({ web: { interface: "lan0", mac: null }, gone: onlyMac(one) })).toEqual([]);
});
