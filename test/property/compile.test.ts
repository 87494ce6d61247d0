import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hostBudgets, spenders } from "../../agent/compile/budgets.ts";
import { clientGroups } from "../../agent/compile/client-groups.ts";
import { compile } from "../../agent/compile/compile.ts";
import { deniedRanges, groupDenials } from "../../agent/compile/denied-networks.ts";
import { groupMarks } from "../../agent/compile/grants.ts";
import { networkEntries } from "../../agent/compile/network-rules.ts";
import { portClasses } from "../../agent/compile/port-classes.ts";
import { renderZones } from "../../agent/compile/rpz.ts";
import { cidrRange, formatAddress, formatCidr } from "../../agent/policy/cidr.ts";
import { buildDecider } from "../../agent/policy/decide.ts";
import { buildDenialTable } from "../../agent/policy/denial-table.ts";
import { limitsOf } from "../../agent/policy/limits.ts";
import type { Cidr, Group, HostEntry, NetworkRule, Policy, PortRange } from "../../agent/policy/policy.ts";
import { comparePorts } from "../../agent/policy/ports.ts";
import { settingsWith } from "../support/compile-samples.ts";

const place = { file: "policy.json", line: 1, column: 1, pointer: "" };

/** Few different addresses, so that networks nest and meet. */
const cidr = fc.tuple(fc.nat({ max: 255 }), fc.integer({ min: 22, max: 32 })).map(([value, length]) => {
  const bits = BigInt(32 - length);
  return formatCidr({ family: 4, value: ((0xc000_0200n + BigInt(value)) >> bits) << bits }, length);
});

const portRange: fc.Arbitrary<PortRange> = fc
  .tuple(
    fc.constantFrom("tcp" as const, "udp" as const),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 0, max: 6 }),
  )
  .map(([protocol, first, more]) => ({ protocol, first, last: first + more }));

const ports = fc.uniqueArray(portRange, { minLength: 1, maxLength: 4, comparator: (a, b) => comparePorts(a, b) === 0 });

const network: fc.Arbitrary<NetworkRule> = fc.record({
  network: cidr,
  ports,
  label: fc.constant(null),
  place: fc.constant(place),
});

const labels = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 4 });
const name = fc.record({
  pattern: fc.record({
    kind: fc.constantFrom("exact" as const, "subdomains" as const),
    name: labels.map((parts) => `${parts.join(".")}.test` as never),
  }),
  ports: fc.constant([]),
  label: fc.constant(null),
  place: fc.constant(place),
});

const denials = fc.record({
  names: fc.array(
    name.map(({ pattern }) => ({ pattern, label: null, place })),
    { maxLength: 3 },
  ),
  networks: fc.uniqueArray(
    cidr.map((denied) => ({ network: denied, label: null, place })),
    { maxLength: 3, selector: (denial) => denial.network },
  ),
});

function groupNamed(groupName: string): fc.Arbitrary<Group> {
  return fc.record({
    name: fc.constant(groupName),
    names: fc.array(name, { maxLength: 6 }),
    networks: fc.uniqueArray(network, { maxLength: 6, selector: (rule) => rule.network }),
    deny: denials,
    isProxied: fc.boolean(),
    place: fc.constant(place),
  });
}

const policies: fc.Arbitrary<Policy> = fc
  .record({
    groups: fc.tuple(groupNamed("*"), groupNamed("g1"), groupNamed("g2")),
    sources: fc.uniqueArray(cidr, { maxLength: 8 }),
    deny: denials,
    isProxied: fc.boolean(),
  })
  .map(({ groups, sources, deny }) => ({
    version: 1,
    mode: "enforce",
    deny,
    groups,
    hosts: sources.map(
      (source, index): HostEntry => ({
        name: `h${index}`,
        sources: [source],
        group: ["*", "g1", "g2"][index % 3] ?? "*",
        limits: index % 2 === 0 ? { egressKbps: 1 + index, place } : null,
        place,
      }),
    ),
    limits: null,
  }));

describe("what the kernel would find is what the decider says", () => {
  const value = fc.nat({ max: 1023 }).map((offset) => 0xc000_0000n + BigInt(offset));

  it("for the group of a client", () => {
    fc.assert(
      fc.property(policies, value, (policy, address) => {
        const { single, wide } = clientGroups(policy, []);
        const holds = (range: { first: bigint; last: bigint }): boolean =>
          range.first <= address && address <= range.last;
        const inWide = wide.filter(holds);
        expect(inWide.length).toBeLessThanOrEqual(1);
        const group = (single.find(holds) ?? inWide[0])?.group ?? "*";
        expect(group).toBe(buildDecider(policy).clientOf(formatAddress({ family: 4, value: address })).group.name);
      }),
    );
  });

  it("for the limit of a client", () => {
    fc.assert(
      fc.property(policies, value, fc.option(fc.integer({ min: 1, max: 9 })), (policy, address, everyone) => {
        const limited = { ...policy, limits: everyone === null ? null : { egressKbps: everyone, place } };
        const found = spenders(limited).filter(({ first, last }) => first <= address && address <= last);
        expect(found.length).toBeLessThanOrEqual(1);
        const budgets = new Map([...hostBudgets(limited).values()].map(({ mark, egressKbps }) => [mark, egressKbps]));
        const [spender] = found;
        const kbps = spender === undefined ? everyone : (budgets.get(spender.mark) ?? null);
        const client = buildDecider(limited).clientOf(formatAddress({ family: 4, value: address }));
        expect(kbps).toBe(limitsOf(limited, client)?.egressKbps ?? null);
      }),
    );
  });

  it("for networks and ports: the longest prefix that holds the class first", () => {
    const flow = fc.record({
      value,
      protocol: fc.constantFrom("tcp" as const, "udp" as const),
      port: fc.integer({ min: 1, max: 20 }),
    });
    fc.assert(
      fc.property(policies, flow, (policy, { value: address, protocol, port }) => {
        const decider = buildDecider(policy);
        const client = decider.clientOf("10.0.0.1");
        const classes = portClasses(policy);
        const mark = classes.find(
          (range) => range.protocol === protocol && range.first <= port && port <= range.last,
        )?.mark;
        const entries = [...networkEntries({ ...policy, groups: policy.groups.slice(0, 1) }, classes)];
        const found = entries.find((entry) => {
          const range = cidrRange(`${entry.address}/${entry.prefixLength}` as Cidr);
          const holds = range.first <= address && address <= range.last;
          return holds && entry.grants.some(({ portClass }) => portClass === mark);
        });
        const decision = decider.decideAddress(client, formatAddress({ family: 4, value: address }), protocol, port);
        expect(found !== undefined && !isDenied(policy, "*", address)).toBe(decision.verdict === "allow");
        const isExplicit = decision.verdict === "deny" && decision.reason === "denied-explicit";
        expect(isDenied(policy, "*", address)).toBe(isExplicit);
      }),
    );
  });

  it("for names: no record of the block zone matches them, and one of the allow zone does", () => {
    fc.assert(
      fc.property(policies, labels, (policy, parts) => {
        const asked = `${parts.join(".")}.test`;
        const zones = renderZones(policy);
        const ownersOf = (text: string): ReadonlySet<string> => new Set(text.match(/^\S+(?= CNAME )/gm) ?? []);
        const isBlocked = matchesZone(ownersOf(zones.block), asked);
        const isResolved = !isBlocked && matchesZone(ownersOf(zones.allow), asked);
        const isAllowedIn = (given: Policy): boolean => {
          const decider = buildDecider(given);
          return given.groups.some((group) => decider.decideName({ host: null, group }, asked).verdict === "allow");
        };
        const everyone = buildDenialTable(policy.deny);
        expect(isBlocked).toBe(everyone.findName(asked, null) !== null);
        // named knows no clients: what one group alone is denied, it may resolve for the others.
        const withoutOwn = policy.groups.map(({ deny: _own, ...group }) => group);
        if (isAllowedIn(policy)) expect(isResolved).toBe(true);
        if (!isAllowedIn({ ...policy, groups: withoutOwn })) expect(isResolved).toBe(false);
      }),
    );
  });
});

/** What the kernel finds in its sets: the merged ranges of everyone, and the group's own networks. */
function isDenied(policy: Policy, groupName: string, address: bigint): boolean {
  const mark = groupMarks(policy).get(groupName);
  const ofGroup = groupDenials(policy).filter(({ group }) => group === mark);
  const ranges = [
    ...deniedRanges(policy, 4),
    ...ofGroup.map((denial) => cidrRange(`${denial.address}/${denial.prefixLength}` as Cidr)),
  ];
  return ranges.some(({ first, last }) => first <= address && address <= last);
}

/** RFC 4592: the closest encloser that exists in the zone decides; a wildcard matches only right below it. */
function matchesZone(owners: ReadonlySet<string>, asked: string): boolean {
  if (owners.has(asked)) return true;
  const exists = (node: string): boolean => [...owners].some((owner) => owner === node || owner.endsWith(`.${node}`));
  if (exists(asked)) return false;
  for (let dot = asked.indexOf("."); dot !== -1; dot = asked.indexOf(".", dot + 1)) {
    const parent = asked.slice(dot + 1);
    if (exists(parent)) return owners.has(`*.${parent}`);
  }
  return false;
}

describe("hostile text that a parser let through", () => {
  const hostileText = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom(
      "a\n* CNAME rpz-passthru.",
      "x; accept",
      '"; };',
      "$INCLUDE /etc/passwd",
      "}",
      "\u2028",
      "# x",
      "a b.com",
    ),
  );

  it("never reaches an artifact that named or nft reads", () => {
    const quiet = compile({ policy: policyWith("safe", "a.test", "policy.json"), settings: settingsWith() });
    const shape = (release: typeof quiet): readonly string[] =>
      release.artifacts
        .filter(({ path }) => path !== "gate.json" && path !== "manifest.json")
        .map(({ bytes }) =>
          bytes
            .toString("utf8")
            .replace(/ [;#] \S+$/gm, "")
            .replace(/0x[0-9a-f]{8}|[0-9a-f]{64}|\b\d{5,10}\b/g, "N"),
        );
    fc.assert(
      fc.property(hostileText, hostileText, (label, file) => {
        // Labels and host names are data of the gate alone; files are written into comments through a whitelist.
        expect(shape(compile({ policy: policyWith(label, "a.test", file), settings: settingsWith() }))).toEqual(
          shape(quiet),
        );
      }),
      { numRuns: 200 },
    );
  });

  it("is refused as a name", () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        fc.pre(!/^[a-z0-9_.-]*$/.test(text));
        expect(() => compile({ policy: policyWith("safe", text, "policy.json"), settings: settingsWith() })).toThrow();
      }),
      { numRuns: 200 },
    );
  });

  function policyWith(text: string, domain: string, file: string): Policy {
    const here = { ...place, file };
    const rule = { pattern: { kind: "exact" as const, name: domain as never }, ports: [], label: text, place: here };
    const net = {
      network: "192.0.2.0/24" as Cidr,
      ports: [{ protocol: "tcp" as const, first: 1, last: 1 }],
      label: text,
      place: here,
    };
    return {
      version: 1,
      mode: "enforce",
      groups: [{ name: "*", names: [rule], networks: [net], isProxied: true, place: here }],
      hosts: [
        {
          name: text,
          sources: ["10.0.0.1/32" as Cidr],
          group: "*",
          limits: { egressKbps: 2000, place: here },
          place: here,
        },
      ],
      limits: { egressKbps: 500, place: here },
    };
  }
});
