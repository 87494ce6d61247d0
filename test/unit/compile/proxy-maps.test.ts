import { describe, expect, it } from "vitest";
import { closedRanges } from "../../../agent/compile/closed-networks.ts";
import { renderProxyConf } from "../../../agent/compile/haproxy.ts";
import { renderProxyMaps } from "../../../agent/compile/proxy-maps.ts";
import { parseAddress, rangeToCidrs } from "../../../agent/policy/cidr.ts";
import { policyOf, settingsWith } from "../../support/compile-samples.ts";

const sni = { mode: "sni-allowlist" };

describe("the maps of a policy", () => {
  const policy = policyOf({
    version: 1,
    allow: { domains: ["a.example.com", "*.wild.example.com"], ports: [443] },
    proxy: sni,
    hosts: {
      own: { sources: ["10.0.0.0/24", "2001:db8::/64"], allow: { domains: ["b.example.com"], ports: ["1-1024"] } },
      within: { sources: ["10.0.0.7"], proxy: { mode: "disabled" } },
      everyone: { sources: ["0.0.0.0/0", "::/0"] },
    },
  });
  const probes = [{ host: "own", address4: "192.0.0.2", address6: "fdc1:a496:e550::2" }];
  const maps = renderProxyMaps(policy, probes);

  it.each([
    ["groups4.map", ["0.0.0.0/0 *", "10.0.0.0/24 own", "10.0.0.7/32 within", "192.0.0.2/32 own"]],
    ["groups6.map", ["::/0 *", "2001:db8::/64 own", "fdc1:a496:e550::2/128 own"]],
    ["tls.map", ["a.example.com@* 1", "b.example.com@own 1", "wild.example.com*@* 1"]],
    ["http.map", ["b.example.com@own 1"]],
  ] as const)("%s", (map, lines) => {
    expect(maps.get(map)?.split("\n").slice(0, -1)).toEqual(lines);
  });

  it("are empty for names that go by address alone", () => {
    const plain = renderProxyMaps(policyOf({ version: 1, allow: { domains: ["a.example.com"] } }), []);
    expect([...plain.values()]).toEqual(Array(13).fill(""));
  });

  it("refuse a wildcard that is deeper than the proxy looks, with its place", () => {
    const deep = policyOf({ version: 1, allow: { domains: [`*.${"a.".repeat(9)}example.com`] }, proxy: sni }, "p.json");
    expect(() => renderProxyMaps(deep, [])).toThrow(
      expect.objectContaining({
        code: "POLICY_INVALID",
        message: expect.stringMatching(/^p\.json:\d+:\d+: .*11 labels/),
      }),
    );
  });

  it.each([
    ["a group with a separator", { groups: [{ name: "a@b" }], hosts: [{ sources: ["10.0.0.1/32"], group: "a@b" }] }],
    ["a group with a line feed", { groups: [{ name: "a\nb" }], hosts: [{ sources: ["10.0.0.1/32"], group: "a\nb" }] }],
  ])("take no text that no parser lets through: %s", (_title, change) => {
    expect(() => renderProxyMaps({ ...policy, ...change } as never, [])).toThrow(RangeError);
  });
});

describe("the configuration", () => {
  const settings = settingsWith();

  it("is the same for every policy", () => {
    expect(renderProxyConf(settings)).toBe(renderProxyConf(settings));
  });

  it.each([
    ["a port", { httpsPort: 0 }],
    ["text as a port", { httpPort: "80\n\tserver x" as never }],
    ["a number of connections", { maxConnections: 1.5 }],
    ["text as a number", { maxConnectionsPerClient: "1 }" as never }],
  ])("takes no %s that is none", (_title, change) => {
    expect(() => renderProxyConf({ ...settings, proxy: { ...settings.proxy, ...change } })).toThrow(RangeError);
  });

  it("puts no more words on a line than HAProxy reads", () => {
    for (const line of renderProxyConf(settings).split("\n")) expect(line.split(" ").length).toBeLessThan(60);
  });
});

describe("addresses that no name leads to through the proxy", () => {
  const isClosed = (text: string): boolean => {
    const address = parseAddress(text);
    if (address === null) throw new Error(text);
    const ranges = (["never", "private"] as const).flatMap((kind) => closedRanges(address.family, kind));
    return ranges.some(({ first, last }) => first <= address.value && address.value <= last);
  };

  it.each([
    ["127.0.0.1", true],
    ["10.0.0.0", true],
    ["9.255.255.255", false],
    ["172.31.255.255", true],
    ["172.32.0.0", false],
    ["203.0.113.10", false],
    ["255.255.255.255", true],
    ["fd00::1", true],
    ["fe80::1", true],
    ["2001:db8::1", false],
    ["::ffff:808:808", true],
    ["64:ff9b::a00:1", true],
    ["64:ff9b::cb00:710a", false],
    ["2002:a00:1:ffff:ffff:ffff:ffff:ffff", true],
    ["2002:aff:ffff::", true],
    ["2002:b00::", false],
    ["2002:cb00:710a::1", false],
  ])("%s: %s", (address, closed) => {
    expect(isClosed(address)).toBe(closed);
  });

  it("are written as few networks", () => {
    expect(closedRanges(4, "never").flatMap(rangeToCidrs)).toHaveLength(6);
    expect(closedRanges(4, "private").flatMap(rangeToCidrs)).toHaveLength(6);
  });
});
