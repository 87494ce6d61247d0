import { describe, expect, it } from "vitest";
import { type ClientRange, clientGroups } from "../../../agent/compile/client-groups.ts";
import { formatAddress } from "../../../agent/policy/cidr.ts";
import { probeAddresses } from "../../../agent/settings/settings.ts";
import { policyOf, settingsWith } from "../../support/compile-samples.ts";

function textOf({ family, first, last, group }: ClientRange): string {
  const [from, to] = [first, last].map((value) => formatAddress({ family, value }));
  return `${from === to ? from : `${from}-${to}`} ${group}`;
}

function groupsOf(sources: { readonly [host: string]: readonly string[] }): { single: string[]; wide: string[] } {
  const allow = { domains: ["a.example.com"] };
  const hosts = Object.fromEntries(Object.entries(sources).map(([name, list]) => [name, { sources: list, allow }]));
  const groups = clientGroups(policyOf({ version: 1, allow, hosts }), []);
  return { single: groups.single.map(textOf), wide: groups.wide.map(textOf) };
}

describe("clientGroups", () => {
  it.each([
    ["single addresses are not ranges", { a: ["10.0.0.1", "2001:db8::1"] }, ["10.0.0.1 a", "2001:db8::1 a"], []],
    ["a network is a range", { a: ["10.0.0.0/24"] }, [], ["10.0.0.0-10.0.0.255 a"]],
    [
      "the most specific source wins",
      { a: ["10.0.0.0/16"], b: ["10.0.1.0/24"], c: ["10.0.1.128/25"] },
      [],
      ["10.0.0.0-10.0.0.255 a", "10.0.1.0-10.0.1.127 b", "10.0.1.128-10.0.1.255 c", "10.0.2.0-10.0.255.255 a"],
    ],
    [
      "nested at the start and at the end",
      { a: ["10.0.0.0/24"], b: ["10.0.0.0/26"], c: ["10.0.0.192/26"] },
      [],
      ["10.0.0.0-10.0.0.63 b", "10.0.0.64-10.0.0.191 a", "10.0.0.192-10.0.0.255 c"],
    ],
    [
      "neighbours stay apart",
      { a: ["10.0.0.0/25"], b: ["10.0.0.128/25"] },
      [],
      ["10.0.0.0-10.0.0.127 a", "10.0.0.128-10.0.0.255 b"],
    ],
    [
      "IPv6 alike",
      { a: ["2001:db8::/32"], b: ["2001:db8:1::/48"] },
      [],
      [
        "2001:db8::-2001:db8:0:ffff:ffff:ffff:ffff:ffff a",
        "2001:db8:1::-2001:db8:1:ffff:ffff:ffff:ffff:ffff b",
        "2001:db8:2::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff a",
      ],
    ],
  ])("%s", (_title, sources, single, wide) => {
    expect(groupsOf(sources as unknown as { [host: string]: string[] })).toEqual({ single, wide });
  });

  const policy = policyOf({
    version: 1,
    allow: { domains: ["a.example.com"] },
    hosts: {
      agent: { sources: ["10.0.0.1"], allow: { domains: ["b.example.com"] } },
      other: { sources: ["10.0.0.2"] },
    },
  });

  it("lets probes speak as their hosts, in their hosts' groups", () => {
    const probes = probeAddresses(settingsWith(["agent", "other"]).health);
    const texts = clientGroups(policy, probes).single.map(textOf);
    expect(texts).toContain("192.0.0.2 *");
    expect(texts).toContain("192.0.0.3 agent");
    expect(texts).toContain("fdc1:a496:e550::3 agent");
    expect(texts).toContain("192.0.0.4 *");
  });

  it("refuses a probe that speaks as a host the policy does not have", () => {
    const probes = probeAddresses(settingsWith(["gone"]).health);
    expect(() => clientGroups(policy, probes)).toThrow(/no host "gone"/);
  });
});
