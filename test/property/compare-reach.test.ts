import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../agent/policy/cidr.ts";
import { compareReach } from "../../agent/policy/compare-reach.ts";
import { buildDecider, type Decider } from "../../agent/policy/decide.ts";
import { narrowPolicy } from "../../agent/policy/narrow-policy.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import type { Policy } from "../../agent/policy/policy.ts";

/** What is called no wider lets nothing more through, whatever two policies say; asked of the decider itself. */

const names = ["x.test", "a.x.test", "b.x.test", "a.b.x.test", "y.test"];
const networks = [
  "192.0.2.0/24",
  "192.0.2.0/25",
  "192.0.2.128/25",
  "192.0.2.7/32",
  "198.51.100.0/24",
  "10.0.0.0/8",
  "2001:db8::/32",
  "2001:db8:1::/48",
];
const addresses = [
  "192.0.2.1",
  "192.0.2.7",
  "192.0.2.200",
  "198.51.100.9",
  "10.1.2.3",
  "2001:db8::1",
  "2001:db8:1::1",
  "203.0.113.1",
];
const sources = ["192.168.1.0/24", "192.168.1.0/25", "192.168.1.10/32", "192.168.2.0/24", "fd00:1::/64"];
const clients = ["192.168.1.1", "192.168.1.10", "192.168.1.200", "192.168.2.2", "172.16.0.1", "fd00:1::1"];
const ports = [80, 443, "443/udp", "8000-8100"];

const someOf = <T>(values: readonly T[], most = 3) => fc.uniqueArray(fc.constantFrom(...values), { maxLength: most });
const domains = someOf([...names, ...names.map((name) => `*.${name}`)], 4);
const rules = fc.record({
  domains,
  ips: someOf(networks),
  ports: fc.uniqueArray(fc.constantFrom(...ports), { minLength: 1, maxLength: 2 }),
});
const denials = fc.record({
  domains: someOf(["x.test", "*.x.test", "a.x.test", "*.b.x.test"], 2),
  ips: someOf(networks, 1),
});
const host = (at: readonly string[]) =>
  fc.record(
    {
      sources: fc.uniqueArray(fc.constantFrom(...at), { minLength: 1, maxLength: 2 }),
      allow: rules,
      deny: denials,
      mode: fc.constantFrom("enforce", "audit", "deny-all"),
      limits: fc.record({ egress_kbps: fc.constantFrom(1000, 2000) }),
    },
    { requiredKeys: ["sources"] },
  );
const policy: fc.Arbitrary<Policy> = fc
  .record(
    {
      version: fc.constant(1),
      allow: rules,
      deny: denials,
      mode: fc.constantFrom("enforce", "audit", "deny-all"),
      hosts: fc.record({ one: host(sources.slice(0, 2)), two: host(sources.slice(2)) }, { requiredKeys: [] }),
      limits: fc.record({ egress_kbps: fc.constantFrom(1000, 2000) }),
    },
    { requiredKeys: ["version", "allow"] },
  )
  .map((value) => parsePolicy(Buffer.from(JSON.stringify(value)), "policy.json"))
  .filter((result) => result.ok)
  .map((result) => {
    if (!result.ok) throw new Error("filtered");
    return result.policy;
  });

/** Returns everything out of a fixed list that a client may reach, as texts. */
function reached(decider: Decider, client: string): ReadonlySet<string> {
  const who = decider.clientOf(client);
  const found = new Set<string>();
  for (const [protocol, port] of [
    ["tcp", 80],
    ["tcp", 443],
    ["udp", 443],
    ["tcp", 8050],
    ["tcp", 22],
  ] as const) {
    for (const name of [...names, "c.x.test", "q.y.test", "other.test"]) {
      if (decider.decideNameFlow(who, name, protocol, port).verdict === "allow")
        found.add(`${name} ${protocol} ${port}`);
    }
    for (const address of addresses) {
      if (decider.decideAddress(who, address, protocol, port).verdict === "allow")
        found.add(`${address} ${protocol} ${port}`);
    }
  }
  return found;
}

const holds = (change: ReturnType<typeof compareReach>[number], client: string): boolean => {
  const address = parseAddress(client);
  return change.ranges.some(
    (range) =>
      address !== null &&
      range.family === address.family &&
      range.first <= address.value &&
      address.value <= range.last,
  );
};

test("a client for whom nothing is called wider reaches nothing that it did not reach before", () => {
  let narrower = 0;
  fc.assert(
    fc.property(policy, policy, (before, after) => {
      const changes = compareReach(before, after);
      const [old, now] = [buildDecider(before), buildDecider(after)];
      for (const client of clients) {
        const widens = changes.some((change) => change.widens && holds(change, client));
        if (widens) continue;
        narrower += 1;
        const had = reached(old, client);
        for (const what of reached(now, client)) expect(had.has(what), `${client} → ${what}`).toBe(true);
      }
    }),
    { numRuns: 400 },
  );
  expect(narrower).toBeGreaterThan(100);
});

test("a client for whom nothing is called different reaches the same", () => {
  fc.assert(
    fc.property(policy, policy, (before, after) => {
      const changes = compareReach(before, after);
      const [old, now] = [buildDecider(before), buildDecider(after)];
      for (const client of clients.filter((one) => !changes.some((change) => holds(change, one)))) {
        expect([...reached(now, client)]).toEqual([...reached(old, client)]);
      }
    }),
    { numRuns: 200 },
  );
});

test("nothing is called different between a policy and itself, and no narrower policy is called wider", () => {
  fc.assert(
    fc.property(policy, fc.constantFrom("tighten", "deny-all"), (given, narrowing) => {
      expect(compareReach(given, given)).toEqual([]);
      const narrowed = narrowPolicy(given, narrowing as "tighten", []);
      expect(compareReach(given, narrowed).filter(({ widens }) => widens)).toEqual([]);
      for (const client of clients) {
        if (narrowing === "deny-all") expect(reached(buildDecider(narrowed), client).size).toBe(0);
      }
    }),
    { numRuns: 200 },
  );
});

describe("by meaning, not by text", () => {
  const read = (value: object): Policy => {
    const result = parsePolicy(Buffer.from(JSON.stringify({ version: 1, ...value })), "policy.json");
    if (!result.ok) throw new Error(result.issues.map(({ message }) => message).join("; "));
    return result.policy;
  };
  const widens = (before: object, after: object): boolean =>
    compareReach(read(before), read(after)).some((change) => change.widens);
  const allow = (
    domainList: readonly string[],
    ips: readonly string[] = [],
    portList: readonly (number | string)[] = [443],
  ) => ({
    allow: { domains: domainList, ips, ports: portList },
  });
  const zone = (resolvers: readonly string[]) => ({
    dns: { forward: { "corp.test": { resolvers } } },
    ...allow(["x.test"]),
  });
  test.each<[string, object, object, boolean]>([
    ["a name under a wildcard that is there", allow(["*.x.test"]), allow(["*.x.test", "a.x.test"]), false],
    ["a narrower wildcard instead of a wide one", allow(["*.x.test"]), allow(["*.b.x.test"]), false],
    ["a wider wildcard instead of a narrow one", allow(["*.b.x.test"]), allow(["*.x.test"]), true],
    ["the name itself, where there was only its wildcard", allow(["*.x.test"]), allow(["*.x.test", "x.test"]), true],
    [
      "two halves instead of a network",
      allow([], ["192.0.2.0/24"]),
      allow([], ["192.0.2.0/25", "192.0.2.128/25"]),
      false,
    ],
    [
      "a network instead of its two halves",
      allow([], ["192.0.2.0/25", "192.0.2.128/25"]),
      allow([], ["192.0.2.0/24"]),
      false,
    ],
    ["a network instead of one of its halves", allow([], ["192.0.2.0/25"]), allow([], ["192.0.2.0/24"]), true],
    ["a port within a range that is there", allow(["x.test"], [], ["440-450"]), allow(["x.test"], [], [443]), false],
    ["another port", allow(["x.test"]), allow(["x.test"], [], [80, 443]), true],
    ["the same port over UDP", allow(["x.test"]), allow(["x.test"], [], [443, "443/udp"]), true],
    [
      "other labels, notes and order",
      { ...allow(["x.test", "y.test"]), labels: { "x.test": "l" } },
      allow(["y.test", "x.test"]),
      false,
    ],
    ["a denial that goes", { ...allow(["*.x.test"]), deny: { domains: ["a.x.test"] } }, allow(["*.x.test"]), true],
    [
      "a denial that goes where nothing was allowed",
      { ...allow(["y.test"]), deny: { domains: ["a.x.test"] } },
      allow(["y.test"]),
      false,
    ],
    [
      "a denial that comes with what it denies",
      allow(["y.test"]),
      { ...allow(["y.test", "a.x.test"]), deny: { domains: ["*.x.test"] } },
      false,
    ],
    ["a denied network that goes", { ...allow(["x.test"]), deny: { ips: ["192.0.2.0/24"] } }, allow(["x.test"]), true],
    ["from enforcing to audit", allow(["x.test"]), { ...allow(["x.test"]), mode: "audit" }, true],
    ["from audit to enforcing", { ...allow(["x.test"]), mode: "audit" }, allow(["x.test", "y.test"]), false],
    [
      "from audit to a private network",
      { ...allow(["x.test"]), mode: "audit" },
      allow(["x.test"], ["10.0.0.0/8"]),
      true,
    ],
    ["from deny-all to anything", { mode: "deny-all" }, allow(["x.test"]), true],
    ["to deny-all", allow(["x.test"]), { mode: "deny-all" }, false],
    ["a proxy that comes", allow(["x.test"]), { ...allow(["x.test"]), proxy: { mode: "sni-allowlist" } }, false],
    ["a proxy that goes", { ...allow(["x.test"]), proxy: { mode: "sni-allowlist" } }, allow(["x.test"]), true],
    ["a limit that goes", { ...allow(["x.test"]), limits: { egress_kbps: 100 } }, allow(["x.test"]), true],
    [
      "a limit that rises",
      { ...allow(["x.test"]), limits: { egress_kbps: 100 } },
      { ...allow(["x.test"]), limits: { egress_kbps: 101 } },
      true,
    ],
    [
      "a limit that falls",
      { ...allow(["x.test"]), limits: { egress_kbps: 100 } },
      { ...allow(["x.test"]), limits: { egress_kbps: 99 } },
      false,
    ],
    ["another resolver for a zone", zone(["10.0.0.1"]), zone(["10.0.0.2"]), true],
    [
      "private answers of a name",
      allow(["x.test"]),
      { allow: { domains: [{ domain: "x.test", answers: ["10.0.0.0/8"] }], ports: [443] } },
      true,
    ],
    [
      "a host entry with less than everybody",
      allow(["x.test", "y.test"]),
      { ...allow(["x.test", "y.test"]), hosts: { one: { sources: ["192.168.1.1/32"], ...allow(["x.test"]) } } },
      false,
    ],
    [
      "a host entry that goes, and had less than everybody",
      { ...allow(["x.test", "y.test"]), hosts: { one: { sources: ["192.168.1.1/32"], ...allow(["x.test"]) } } },
      allow(["x.test", "y.test"]),
      true,
    ],
    [
      "an address that moves to a host with more",
      {
        ...allow([]),
        mode: "enforce",
        hosts: { one: { sources: ["192.168.1.1/32"], ...allow(["x.test"]) } },
        ...allow(["y.test"]),
      },
      { ...allow(["y.test"]), hosts: { one: { sources: ["192.168.1.0/24"], ...allow(["x.test"]) } } },
      true,
    ],
  ])("%s", (_what, before, after, expected) => {
    expect(widens(before, after)).toBe(expected);
  });
});

test("twenty thousand names and a thousand hosts are compared in seconds", () => {
  const many = Array.from({ length: 20_000 }, (_, index) => `n${index}.x.test`);
  const hosts = Object.fromEntries(
    Array.from({ length: 1000 }, (_, index) => [
      `h${index}`,
      { sources: [`10.${index >> 8}.${index & 255}.0/24`], allow: { domains: ["x.test"] } },
    ]),
  );
  const read = (domainList: readonly string[]): Policy => {
    const result = parsePolicy(
      Buffer.from(JSON.stringify({ version: 1, allow: { domains: domainList }, hosts })),
      "policy.json",
      { maxBytes: 2 ** 26 },
    );
    if (!result.ok) throw new Error(JSON.stringify(result.issues[0]));
    return result.policy;
  };
  const [before, after] = [read(many), read([...many, "new.x.test"])];
  const startedAtMs = performance.now();
  const changes = compareReach(before, after);
  expect(changes.map(({ before: was, after: is, widens }) => [was, is, widens])).toEqual([[null, null, true]]);
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);
});
