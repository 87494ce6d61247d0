import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { closedRanges } from "../../agent/compile/closed-networks.ts";
import { type ProxyMap, renderProxyMaps, SUFFIX_LABELS } from "../../agent/compile/proxy-maps.ts";
import { addressKind } from "../../agent/gate/addresses.ts";
import { cidrRange, formatAddress, parseAddress } from "../../agent/policy/cidr.ts";
import { buildDecider } from "../../agent/policy/decide.ts";
import type { Cidr } from "../../agent/policy/policy.ts";
import { isProxiedPort } from "../../agent/policy/proxied.ts";
import { policyOf } from "../support/compile-samples.ts";

/** The proxy's lookups as its configuration has them: the most specific network, then the name, then its parents. */
function mapsAllow(maps: ReadonlyMap<ProxyMap, string>, address: string, name: string, map: ProxyMap): boolean {
  const lines = (which: ProxyMap): readonly string[] =>
    (maps.get(which) ?? "").split("\n").filter((line) => line !== "");
  const client = parseAddress(address);
  if (client === null) throw new Error(address);
  const holding = lines(client.family === 4 ? "groups4.map" : "groups6.map")
    .map((line) => line.split(" ") as [string, string])
    .filter(([network]) => {
      const { first, last } = cidrRange(network as Cidr);
      return first <= client.value && client.value <= last;
    })
    .sort(([a], [b]) => Number(b.split("/")[1]) - Number(a.split("/")[1]));
  const group = holding[0]?.[1] ?? "*";
  const listed = new Set(lines(map).map((line) => line.split(" ")[0]));
  const parent = name.replace(/^[^.]*\./, "").split(".");
  const suffixes = SUFFIX_LABELS.map((count) => parent.slice(-count).join("."));
  return listed.has(`${name}@${group}`) || suffixes.some((suffix) => listed.has(`${suffix}*@${group}`));
}

const names = fc
  .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 5 })
  .map((labels) => [...labels, "example", "com"].join("."));
const domains = fc.array(
  fc.tuple(fc.boolean(), names).map(([isWildcard, name]) => (isWildcard ? `*.${name}` : name)),
  { minLength: 1, maxLength: 6 },
);
const ports = fc.constantFrom([443], [80], [80, 443], ["1-1024"], [22]);
const proxy = fc.record({ mode: fc.constantFrom("sni-allowlist", "disabled"), domains }, { requiredKeys: [] });
const lists = fc.record({ domains, ports });
const sources = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "2001:db8::/32", "2001:db8:1::/48"];
const host = fc.record({ allow: fc.option(lists, { nil: undefined }), proxy: fc.option(proxy, { nil: undefined }) });
const documents = fc
  .record({ allow: lists, proxy: fc.option(proxy, { nil: undefined }), hosts: fc.tuple(host, host, host, host, host) })
  .map(({ hosts, ...rest }) => {
    const entries = hosts.map((entry, index) => [`h${index}`, { sources: [sources[index]], ...entry }] as const);
    return { version: 1, ...rest, hosts: Object.fromEntries(entries) };
  });
const addresses = fc.constantFrom("10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::1");

describe("what the proxy's maps say is what the decider says", () => {
  it.each([
    ["tls.map", 443],
    ["http.map", 80],
  ] as const)("%s", (map, port) => {
    fc.assert(
      fc.property(documents, addresses, names, (document, address, name) => {
        const policy = policyOf(JSON.parse(JSON.stringify(document)));
        const decider = buildDecider(policy);
        const client = decider.clientOf(address);
        const decided = decider.decideNameFlow(client, name, "tcp", port).verdict === "allow";
        const expected = decided && isProxiedPort(client.group, "tcp", port);
        expect(mapsAllow(renderProxyMaps(policy, []), address, name, map)).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });
});

describe("closed addresses are those that the gate does not call public", () => {
  it.each([
    [4, 32],
    [6, 128],
  ] as const)("IPv%i", (family, bits) => {
    const edges = closedRanges(family).flatMap(({ first, last }) => [first - 1n, first, last, last + 1n]);
    const inside = (value: bigint): boolean => value >= 0n && value < 1n << BigInt(bits);
    const values = fc.oneof(
      fc.constantFrom(...edges.filter(inside)),
      fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }),
    );
    fc.assert(
      fc.property(values, (value) => {
        const isClosed = closedRanges(family).some(({ first, last }) => first <= value && value <= last);
        expect(isClosed).toBe(addressKind(formatAddress({ family, value })) !== "public");
      }),
    );
  });
});
