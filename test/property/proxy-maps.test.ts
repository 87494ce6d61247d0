import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mayLead } from "../../agent/apply/proxy-leads.ts";
import { loosenSteps, tightenSteps } from "../../agent/apply/proxy-map-steps.ts";
import { closedRanges } from "../../agent/compile/closed-networks.ts";
import { type ProxyMap, renderProxyMaps } from "../../agent/compile/proxy-maps.ts";
import { SUFFIX_LABELS } from "../../agent/compile/proxy-names.ts";
import { addressKind } from "../../agent/gate/addresses.ts";
import { formatAddress, holdsAddress } from "../../agent/policy/cidr.ts";
import { buildDecider } from "../../agent/policy/decide.ts";
import type { Cidr } from "../../agent/policy/policy.ts";
import { isProxiedPort } from "../../agent/policy/proxied.ts";
import { policyOf } from "../support/compile-samples.ts";

interface Flow {
  readonly client: string;
  readonly name: string;
  readonly far: string;
}

/** The proxy's lookups as its configuration has them, one after the other. */
function mapsAllow(maps: ReadonlyMap<ProxyMap, string>, map: ProxyMap, { client, name, far }: Flow): boolean {
  const linesOf = (which: ProxyMap): readonly (readonly [string, string])[] =>
    (maps.get(which) ?? "").split("\n").flatMap((line) => (line === "" ? [] : [line.split(" ") as [string, string]]));
  const longest = (which: ProxyMap, address: string): string | undefined =>
    linesOf(which)
      .filter(([network]) => holdsAddress(network as Cidr, address))
      .sort(([a], [b]) => Number(b.split("/")[1]) - Number(a.split("/")[1]))[0]?.[1];
  const has = (which: ProxyMap, key: string): boolean => linesOf(which).some(([listed]) => listed === key);
  const family = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);
  const group = longest(`groups${family(client)}.map`, client) ?? "*";
  const parent = name.replace(/^[^.]*\./, "").split(".");
  const suffixes = SUFFIX_LABELS.map((count) => parent.slice(-count).join("."));
  const finds = (which: ProxyMap, end: string): boolean =>
    has(which, `${name}${end}`) || suffixes.some((suffix) => has(which, `${suffix}*${end}`));
  if (finds("deny.map", "!") || finds("deny.map", `@${group}`) || !finds(map, `@${group}`)) return false;
  const kind = addressKind(far);
  if (kind === "never") return false;
  const region = longest(`regions${family(far)}.map`, far);
  if (region !== undefined && (has("deny.map", `${region}!`) || has("deny.map", `${region}@${group}`))) return false;
  if (kind === "public") return true;
  const inner = longest(`inner${family(far)}.map`, far) ?? "";
  const zone = [...suffixes, name].findLast((candidate) => has("zones.map", candidate));
  return finds("answers.map", `@${group}|${inner}`) || has("answers.map", `${zone}=|${inner}`);
}

const names = fc
  .array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 3 })
  .map((labels) => [...labels, "example", "com"].join("."));
const patterns = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.boolean(), names).map(([isWild, name]) => (isWild ? `*.${name}` : name)) },
  { weight: 2, arbitrary: fc.constant("*.example.com") },
);
const inner = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "192.168.0.0/16", "fd00::/8", "fd00:1::/32"];
const answers = fc.uniqueArray(fc.constantFrom(...inner), { minLength: 1, maxLength: 3 });
const entries = fc.oneof(patterns, fc.record({ domain: patterns, answers }));
const domains = fc.array(entries, { minLength: 1, maxLength: 6 });
const ports = fc.constantFrom([443], [80, 443], [80, 443], ["1-1024"], [22]);
const tlsNames = fc.array(patterns, { minLength: 1, maxLength: 4 });
const proxy = fc.record(
  { mode: fc.constantFrom("sni-allowlist", "sni-allowlist", "disabled"), domains: tlsNames },
  { requiredKeys: [] },
);
const lists = fc.record({ domains, ports });
const outer = [
  "203.0.113.0/24",
  "203.0.113.7/32",
  "2001:db8:1::/48",
  "2002::/16",
  "64:ff9b::/96",
  "2002:cb00:7100::/40",
];
const denials = fc.record(
  {
    domains: fc.array(
      fc.oneof(
        { weight: 9, arbitrary: names.map((name) => `*.${name}`) },
        { weight: 1, arbitrary: fc.constant("*.com") },
      ),
      { maxLength: 1 },
    ),
    ips: fc.uniqueArray(fc.constantFrom(...inner, ...outer), { maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined });
const sources = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "2001:db8::/32", "2001:db8:1::/48"];
const host = fc.record({
  allow: maybe(lists),
  proxy: maybe(proxy),
  deny: fc.option(denials, { nil: undefined, freq: 1 }),
});
const zone = fc.record({ resolvers: fc.constant(["10.0.0.53"]), answers }, { requiredKeys: ["resolvers"] });
const documents = fc
  .record({
    allow: lists,
    proxy,
    deny: maybe(denials),
    forward: fc.dictionary(names, zone, { maxKeys: 3 }),
    hosts: fc.tuple(host, host, host, host, host),
  })
  .map(({ hosts, forward, ...rest }) => {
    const written = hosts.map((entry, index) => [`h${index}`, { sources: [sources[index]], ...entry }] as const);
    return { version: 1, ...rest, dns: { forward }, hosts: Object.fromEntries(written) };
  });
const clients = ["10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::1"];
const fars = [
  ...["203.0.113.7", "203.0.113.8", "198.51.100.1", "10.2.0.1", "10.1.2.1", "10.1.1.1", "192.168.0.1", "127.0.0.1"],
  ...["2001:db8:1::1", "2001:db8:2::1", "fd00::1", "fd00:1::1", "64:ff9b::cb00:7107", "64:ff9b::a01:101"],
  ...["2002:cb00:7107::1", "2002:cb00:7207::1", "2002:a01:101::1"],
];
const flows = fc.record({ client: fc.constantFrom(...clients), name: names, far: fc.constantFrom(...fars) });

describe("what the proxy's maps say is what the decider says", () => {
  it.each([
    ["tls.map", 443],
    ["http.map", 80],
  ] as const)("%s", (map, port) => {
    const seen = { open: 0, inner: 0, denied: 0 };
    fc.assert(
      fc.property(documents, fc.array(flows, { minLength: 20, maxLength: 20 }), (document, some) => {
        const policy = policyOf(JSON.parse(JSON.stringify(document)));
        const decider = buildDecider(policy);
        const maps = renderProxyMaps(policy, []);
        for (const flow of some) {
          const client = decider.clientOf(flow.client);
          const decided = decider.decideNameFlow(client, flow.name, "tcp", port);
          const isOpen = decided.verdict === "allow" && mayLead(decider, decided, flow.far);
          const expected = isOpen && isProxiedPort(client.group, "tcp", port);
          expect(mapsAllow(maps, map, flow), JSON.stringify(flow)).toBe(expected);
          if (expected) seen[addressKind(flow.far) === "public" ? "open" : "inner"] += 1;
          else if (decided.verdict === "deny" && decided.reason === "denied-explicit") seen.denied += 1;
        }
      }),
      { numRuns: 120 },
    );
    expect(Math.min(seen.open, seen.inner, seen.denied), JSON.stringify(seen)).toBeGreaterThan(5);
  });
});

type Maps = ReadonlyMap<ProxyMap, string>;

/** Every state of the maps on the way from one release to another. */
function statesBetween(from: Maps, to: Maps): readonly Maps[] {
  const states = [from];
  const linesOf = (text: string | undefined): ReadonlySet<string> =>
    new Set((text ?? "").split("\n").filter((line) => line !== ""));
  for (const { map, toLines } of [...tightenSteps, ...loosenSteps]) {
    const current = states.at(-1) ?? from;
    const lines = toLines(linesOf(current.get(map)), linesOf(to.get(map)));
    states.push(new Map([...current, [map, [...lines].join("\n")]]));
  }
  return states;
}

describe("while maps change", () => {
  it("nothing is open that neither policy opens, and at the end the new one holds", () => {
    const some = fc.array(flows, { minLength: 10, maxLength: 10 });
    fc.assert(
      fc.property(documents, documents, some, (one, other, asked) => {
        const mapsOf = (document: object): Maps => renderProxyMaps(policyOf(JSON.parse(JSON.stringify(document))), []);
        const [from, to] = [mapsOf(one), mapsOf(other)];
        const states = statesBetween(from, to);
        const last = states.at(-1) ?? from;
        for (const flow of asked) {
          const [before, after] = [mapsAllow(from, "tls.map", flow), mapsAllow(to, "tls.map", flow)];
          expect(mapsAllow(last, "tls.map", flow)).toBe(after);
          if (before || after) continue;
          for (const [step, state] of states.entries()) {
            expect(mapsAllow(state, "tls.map", flow), `step ${step} opens ${JSON.stringify(flow)}`).toBe(false);
          }
        }
      }),
      { numRuns: 80 },
    );
  });
});

describe("closed addresses are those that the gate does not call public", () => {
  it.each([
    [4, 32],
    [6, 128],
  ] as const)("IPv%i", (family, bits) => {
    const ranges = (["never", "private"] as const).map((kind) => [kind, closedRanges(family, kind)] as const);
    const edges = ranges.flatMap(([, list]) => list.flatMap(({ first, last }) => [first - 1n, first, last, last + 1n]));
    const inside = (value: bigint): boolean => value >= 0n && value < 1n << BigInt(bits);
    const values = fc.oneof(
      fc.constantFrom(...edges.filter(inside)),
      fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }),
    );
    fc.assert(
      fc.property(values, (value) => {
        const found = ranges.find(([, list]) => list.some(({ first, last }) => first <= value && value <= last));
        expect(found?.[0] ?? "public").toBe(addressKind(formatAddress({ family, value })));
      }),
    );
  });
});
