import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cidrRange, parseAddress } from "../../agent/policy/cidr.ts";
import { buildDecider } from "../../agent/policy/decide.ts";
import { patternText } from "../../agent/policy/pattern-text.ts";
import type { Group, NamePattern, NameRule, NetworkRule, Policy, PortRange } from "../../agent/policy/policy.ts";
import { includesPort, parsePortRange, portText, splitAtoms, unionPorts } from "../../agent/policy/ports.ts";
import { validPolicy } from "../support/policy-text.ts";

const label = fc.constantFrom("a", "b", "c");
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => [...labels, "example"].join("."));
const pattern = fc.tuple(fc.boolean(), name).map(([isWildcard, text]) => (isWildcard ? `*.${text}` : text));
const address = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(255)).map(([a, b, c]) => `10.${a}.${b}.${c}`);
const network = fc
  .tuple(fc.nat(3), fc.nat(3))
  .chain(([a, b]) =>
    fc.constantFrom(`10.${a}.${b}.0/24`, `10.${a}.0.0/16`, `10.${a}.${b}.${a}`, `2001:db8:${a}::/48`, "10.0.0.0/8"),
  );
const port = fc.constantFrom(22, 80, 443, "443/udp", "1-100", "50-8000/udp");
const allow = fc.record({
  domains: fc.array(pattern, { minLength: 1, maxLength: 8 }),
  ips: fc.array(network, { maxLength: 6 }),
  ports: fc.array(port, { minLength: 1, maxLength: 4 }),
  subdomains: fc.boolean(),
});
const hostAllow = fc.option(fc.tuple(allow, fc.boolean()), { nil: undefined });
const document = fc
  .record({
    allow,
    hosts: fc.array(hostAllow, { maxLength: 4 }),
    labels: fc.dictionary(pattern, label, { maxKeys: 4 }),
  })
  .map(({ allow: global, hosts, labels }) => ({
    version: 1,
    allow: global,
    labels,
    hosts: Object.fromEntries(
      hosts.map((own, index) => [
        `h${index}`,
        {
          sources: [`10.200.${index}.0/24`, `10.200.0.${index}`, `fd00:${index}::/64`],
          ...(own === undefined ? {} : { allow: { ...own[0], inherit: own[1] } }),
        },
      ]),
    ),
  }));
type Document = typeof document extends fc.Arbitrary<infer T> ? T : never;

/** The policy without places, which tell only where things were written. */
const bare = (policy: Policy): unknown =>
  JSON.parse(JSON.stringify(policy, (key, value) => (key === "place" ? undefined : value)));

/** A document that says the same as a policy, every entry with its own ports and label. */
function documentOf(policy: Policy): object {
  const listsOf = (group: Group): object => {
    const details = ({ ports, label: text }: NameRule | NetworkRule): object => ({
      ports: ports.map(portText),
      ...(text === null ? {} : { label: text }),
    });
    return {
      domains: group.names.map((rule) => ({ domain: patternText(rule.pattern), ...details(rule) })),
      ips: group.networks.map((rule) => ({ network: rule.network, ...details(rule) })),
    };
  };
  const lists = new Map(policy.groups.map((group) => [group.name, listsOf(group)]));
  const hosts = policy.hosts.map(({ name: hostName, sources, group }) => [
    hostName,
    { sources, ...(group === "*" ? {} : { allow: lists.get(group) }) },
  ]);
  return { version: 1, mode: policy.mode, allow: lists.get("*"), hosts: Object.fromEntries(hosts) };
}

const reversed = <T>(list: readonly T[]): readonly T[] => list.toReversed();

function reverseDocument(given: Document): object {
  const lists = ({ domains, ips, ports, ...rest }: Document["allow"]): object => ({
    ports: reversed(ports),
    ips: reversed(ips),
    domains: reversed(domains),
    ...rest,
  });
  const hosts = Object.entries(given.hosts).map(([hostName, { sources, ...rest }]) => {
    const own = "allow" in rest ? { allow: lists(rest.allow as Document["allow"]) } : {};
    return [hostName, { ...own, sources: reversed(sources) }];
  });
  const labels = Object.fromEntries(Object.entries(given.labels).reverse());
  return { hosts: Object.fromEntries(hosts.reverse()), labels, allow: lists(given.allow), version: 1 };
}

describe("normalising", () => {
  test("is idempotent: a policy written out again is the same policy", () => {
    fc.assert(
      fc.property(document, (given) => {
        const policy = validPolicy(given);
        expect(bare(validPolicy(documentOf(policy)))).toEqual(bare(policy));
      }),
    );
  });

  /** Of several entries for one name the first written gives the label: that alone is a matter of order. */
  const unlabelled = (policy: Policy): unknown =>
    JSON.parse(JSON.stringify(policy, (key, value) => (key === "place" || key === "label" ? undefined : value)));

  test("opens the same whatever the order of entries and keys", () => {
    fc.assert(
      fc.property(document, (given) => {
        expect(unlabelled(validPolicy(reverseDocument(given)))).toEqual(unlabelled(validPolicy(given)));
      }),
    );
  });

  test("gives each pattern and network of a group once, sorted", () => {
    fc.assert(
      fc.property(document, (given) => {
        for (const { names } of validPolicy(given).groups) {
          const texts = names.map((rule) => patternText(rule.pattern));
          expect(texts).toEqual([...new Set(texts)].sort());
        }
      }),
    );
  });
});

describe("deciding agrees with going through all rules", () => {
  const matches = ({ kind, name: listed }: NamePattern, asked: string): boolean =>
    kind === "exact" ? listed === asked : asked.endsWith(`.${listed}`);
  const holds = (cidr: NetworkRule["network"], text: string): boolean => {
    const [range, probe] = [cidrRange(cidr), parseAddress(text)];
    return probe?.family === range.family && range.first <= probe.value && probe.value <= range.last;
  };
  const isOpen = (
    rules: readonly { readonly ports: readonly PortRange[] }[],
    protocol: "tcp" | "udp",
    number: number,
  ): boolean => rules.some(({ ports }) => includesPort(ports, protocol, number));
  const protocol = fc.constantFrom("tcp" as const, "udp" as const);
  const portNumber = fc.constantFrom(22, 51, 80, 100, 443, 8000, 8001);
  const source = fc.oneof(address, fc.constantFrom("10.200.0.1", "10.200.1.7", "10.200.0.3", "fd00:2::9", "192.0.2.1"));

  test("for clients, names and flows to names", () => {
    fc.assert(
      fc.property(document, source, name, protocol, portNumber, (given, from, asked, proto, number) => {
        const policy = validPolicy(given);
        const decider = buildDecider(policy);
        const client = decider.clientOf(from);

        const sources = policy.hosts.flatMap((entry) => entry.sources.map((cidr) => ({ entry, cidr })));
        const lengthOf = ({ cidr }: (typeof sources)[number]): number => Number(cidr.split("/")[1]);
        const best = sources
          .filter(({ cidr }) => holds(cidr, from))
          .sort((a, b) => lengthOf(b) - lengthOf(a))[0]?.entry;
        expect(client.host).toBe(best ?? null);
        expect(client.group.name).toBe(best?.group ?? "*");

        const rules = client.group.names.filter((rule) => matches(rule.pattern, asked));
        const decision = decider.decideName(client, asked);
        expect(decision.verdict).toBe(rules.length > 0 ? "allow" : "deny");
        const flow = decider.decideNameFlow(client, asked, proto, number);
        expect(flow.verdict).toBe(isOpen(rules, proto, number) ? "allow" : "deny");
        if (decision.verdict === "allow" && decision.rule !== null && "pattern" in decision.rule) {
          const lengths = rules.map((rule) => rule.pattern.name.length);
          expect(decision.rule.pattern.name).toHaveLength(Math.max(...lengths));
          expect(unionPorts(decision.ports)).toEqual(unionPorts(rules.flatMap(({ ports }) => ports)));
        }
      }),
    );
  });

  test("for addresses", () => {
    fc.assert(
      fc.property(document, source, address, protocol, portNumber, (given, from, to, proto, number) => {
        const decider = buildDecider(validPolicy(given));
        const client = decider.clientOf(from);
        const rules = client.group.networks.filter((rule) => holds(rule.network, to));
        const decision = decider.decideAddress(client, to, proto, number);
        expect(decision.verdict).toBe(isOpen(rules, proto, number) ? "allow" : "deny");
        expect(decider.coversAddress(client, to)).toBe(rules.length > 0);
        if (decision.verdict === "deny")
          expect(decision.reason).toBe(rules.length > 0 ? "port-not-allowed" : "ip-not-allowed");
      }),
    );
  });
});

describe("ports", () => {
  const ranges = fc.array(
    fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.nat(10), fc.constantFrom("tcp" as const, "udp" as const))
      .map(([first, more, protocol]): PortRange => ({ protocol, first, last: first + more })),
  );
  const all = Array.from({ length: 60 }, (_, index) => index);

  test("atoms are disjoint, cover the same ports, and no given range cuts one", () => {
    fc.assert(
      fc.property(ranges, fc.constantFrom("tcp" as const, "udp" as const), (given, protocol) => {
        const atoms = splitAtoms(given);
        for (const number of all) {
          const holding = atoms.filter((atom) => includesPort([atom], protocol, number));
          expect(holding).toHaveLength(includesPort(given, protocol, number) ? 1 : 0);
        }
        for (const atom of atoms) {
          for (const range of given.filter((candidate) => candidate.protocol === atom.protocol)) {
            const isInside = range.first <= atom.first && atom.last <= range.last;
            expect(isInside || atom.last < range.first || range.last < atom.first).toBe(true);
          }
        }
      }),
    );
  });

  test("the text of a range is read as that range", () => {
    fc.assert(
      fc.property(ranges, (given) => {
        for (const range of given) expect(parsePortRange(portText(range))).toEqual({ ok: true, value: range });
      }),
    );
  });
});
