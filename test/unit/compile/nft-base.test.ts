import { describe, expect, it } from "vitest";
import { renderBase } from "../../../agent/compile/nft-base.ts";
import { baseUsers, settingsWith } from "../../support/compile-samples.ts";

const settings = settingsWith();

function rulesOf(text: string, chain: string): readonly string[] {
  const start = `add rule inet clawgress_base ${chain} `;
  return text.split("\n").flatMap((line) => (line.startsWith(start) ? [line.slice(start.length)] : []));
}

describe("renderBase", () => {
  const text = renderBase(settings, baseUsers);

  it("empties and fills, and deletes nothing, so that loading it again opens nothing", () => {
    expect(text).not.toMatch(/^(delete|destroy|flush ruleset|flush table)/m);
    expect(text.match(/^add chain .* policy drop; \}$/gm)).toEqual([
      "add chain inet clawgress_base forward { type filter hook forward priority filter + 10; policy drop; }",
    ]);
  });

  it("touches no chain and no map of the policy table", () => {
    const lines = text.split("\n").filter((line) => / inet clawgress( |$)/.test(line));
    expect(lines).toEqual([
      "add table inet clawgress",
      "add set inet clawgress lan { type ifname; }",
      "add set inet clawgress lifeline4 { type ipv4_addr; flags interval; }",
      "add set inet clawgress lifeline6 { type ipv6_addr; flags interval; }",
      "flush set inet clawgress lan",
      'add element inet clawgress lan { "lan0", "lan1", "cgprobe" }',
      "flush set inet clawgress lifeline4",
      "add element inet clawgress lifeline4 { 10.99.0.0-10.99.0.255 }",
      "flush set inet clawgress lifeline6",
      "add element inet clawgress lifeline6 { fd99::-fd99::ffff:ffff:ffff:ffff }",
    ]);
  });

  it("drops what names its own route, before anything else can let it through", () => {
    const [first, ...others] = rulesOf(text, "source");
    expect(first).toBe("iifname != @clients return");
    const isDropped = (what: string): number =>
      others.findIndex((rule) => rule.startsWith(what) && rule.endsWith(" goto refuse_routed"));
    expect(rulesOf(text, "refuse_routed").at(-1)).toBe("drop");
    const linkLocal = others.findIndex((rule) => rule.startsWith("ip6 saddr"));
    for (const what of ["exthdr rt exists", "ip option lsrr exists", "ip option ssrr exists"]) {
      expect(isDropped(what), what).toBeGreaterThanOrEqual(0);
      expect(isDropped(what), what).toBeLessThan(linkLocal);
    }
  });

  it("merges lifeline prefixes that overlap", () => {
    expect(text).toContain("add element inet clawgress_base lifeline4 { 10.99.0.0-10.99.0.255 }\n");
  });

  it("masks only when asked to", () => {
    expect(rulesOf(text, "masquerade_upstream")).toHaveLength(1);
    const routed = renderBase({ ...settings, nat: "none" }, baseUsers);
    expect(rulesOf(routed, "masquerade_upstream")).toEqual([]);
    expect(routed).toContain("flush chain inet clawgress_base masquerade_upstream\n");
  });

  it("has no lifeline rule in forward when there is no lifeline", () => {
    expect(rulesOf(text, "forward").some((rule) => rule.includes("lifeline"))).toBe(true);
    const none = rulesOf(renderBase({ ...settings, lifeline: [] }, baseUsers), "forward");
    expect(none.some((rule) => rule.includes("lifeline"))).toBe(false);
    expect(none.at(-1)).toBe("goto refuse_forward");
  });

  it.each([
    ["a pattern as interface", { interfaces: { clients: ["lan*"], upstream: [] } }, baseUsers],
    ["rules as interface", { interfaces: { clients: [], upstream: ['x" accept #'] } }, baseUsers],
    ["loopback as client interface", { interfaces: { clients: ["lo"], upstream: [] } }, baseUsers],
    ["root for named", {}, { dnsUid: 0, gateUid: 2, proxyUid: 3 }],
    ["root for the gate", {}, { dnsUid: 1, gateUid: 0, proxyUid: null }],
    ["root for the proxy", {}, { dnsUid: 1, gateUid: 2, proxyUid: 0 }],
    ["one user for two", {}, { dnsUid: 5, gateUid: 5, proxyUid: null }],
    ["the gate's user for the proxy", {}, { dnsUid: 5, gateUid: 6, proxyUid: 6 }],
  ])("refuses %s", (_title, change, users) => {
    expect(() => renderBase({ ...settings, ...change }, users)).toThrow(
      expect.objectContaining({ code: "SETTINGS_INVALID", remedy: expect.any(String) }),
    );
  });

  it.each([
    ["an upstream that is no address", { dns: { ...settings.dns, upstreams: ["dns.example; accept"] } }, baseUsers],
    ["a port that is none", { gate: { ...settings.gate, port: 0 } }, baseUsers],
    ["a user that is no number", {}, { dnsUid: Number.NaN, gateUid: 2, proxyUid: null }],
  ])("throws for %s", (_title, change, users) => {
    expect(() => renderBase({ ...settings, ...change }, users)).toThrow(RangeError);
  });
});
