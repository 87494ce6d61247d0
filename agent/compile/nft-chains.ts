import { addressBits, type Family, formatAddress } from "../policy/cidr.ts";
import { closedInAudit } from "../policy/special.ts";
import { ANSWER, INTERCEPT, NETWORK_GRANT_MIN, SCHEDULE_MIN, VERDICT } from "./marks.ts";
import { auditLogRule } from "./nft-refuse.ts";
import { markToken, numberToken } from "./tokens.ts";

/** What the chains depend on: the mark of the group `*` and the lengths of prefixes that the policy's networks have. */
export interface ChainParts {
  /** True stamps nothing at all: `deny-all` holds even if the gate is dead and its grants are still in `live`. */
  readonly denyAll: boolean;
  /** Whether any group is in SNI mode. */
  readonly isProxied: boolean;
  readonly globalGroup: number;
  readonly prefixLengths4: readonly number[];
  readonly prefixLengths6: readonly number[];
  /** True when a group is under audit: what the policy does not open to it is logged and opened all the same. */
  readonly hasAudit: boolean;
  /** Families in which `dns.forward` names resolvers. */
  readonly resolverFamilies: readonly Family[];
  /** Families in which names lead to private networks through the proxy. */
  readonly answerFamilies: readonly Family[];
  /** What is denied although it may be allowed; null costs no packet a lookup. */
  readonly denied: DeniedParts | null;
  /** Whether anything is open at times only; if not, it costs no packet anything. */
  readonly hasHours: boolean;
  /** What is denied until a time; null where nothing is. */
  readonly lapsing: LapsingParts | null;
}

/** The lengths of prefixes that everyone and single groups are denied until a time. */
export interface LapsingParts {
  readonly everyoneLengths4: readonly number[];
  readonly everyoneLengths6: readonly number[];
  readonly groupLengths4: readonly number[];
  readonly groupLengths6: readonly number[];
}

/** Whether addresses are denied for everyone, and the lengths of prefixes that single groups are denied. */
export interface DeniedParts {
  readonly everyone4: boolean;
  readonly everyone6: boolean;
  readonly groupLengths4: readonly number[];
  readonly groupLengths6: readonly number[];
}

/** The objects of the policy table. Their types never change: an object of another type gets another name. */
export const policyObjects = `add table inet clawgress
add set inet clawgress lan { type ifname; }
add map inet clawgress client4 { type ipv4_addr : mark; }
add map inet clawgress client6 { type ipv6_addr : mark; }
add map inet clawgress group4 { type ipv4_addr : mark; flags interval; }
add map inet clawgress group6 { type ipv6_addr : mark; flags interval; }
add map inet clawgress tcp_ports { type inet_service : mark; flags interval; }
add map inet clawgress udp_ports { type inet_service : mark; flags interval; }
add map inet clawgress proxied { type mark : mark; }
add map inet clawgress net4 { type mark . ipv4_addr . mark : mark; }
add map inet clawgress net6 { type mark . ipv6_addr . mark : mark; }
add set inet clawgress audited { type mark; }
add set inet clawgress resolvers4 { type ipv4_addr; }
add set inet clawgress resolvers6 { type ipv6_addr; }
add set inet clawgress answers4 { type ipv4_addr; flags interval; }
add set inet clawgress answers6 { type ipv6_addr; flags interval; }
add set inet clawgress deny4 { type ipv4_addr; flags interval; }
add set inet clawgress deny6 { type ipv6_addr; flags interval; }
add set inet clawgress group_deny4 { type mark . ipv4_addr . mark; }
add set inet clawgress group_deny6 { type mark . ipv6_addr . mark; }
add map inet clawgress pin4 { type ipv4_addr . ipv4_addr . mark : mark; flags timeout; }
add map inet clawgress pin6 { type ipv6_addr . ipv6_addr . mark : mark; flags timeout; }
add map inet clawgress group_pin4 { type mark . ipv4_addr . mark : mark; flags timeout; }
add map inet clawgress group_pin6 { type mark . ipv6_addr . mark : mark; flags timeout; }
add set inet clawgress live { type mark . mark; flags timeout; }
add map inet clawgress name_hours { type mark . mark : mark; }
add map inet clawgress net_hours { type mark . mark : mark; }
add set inet clawgress window { typeof meta mark . meta time; flags interval,timeout; }
add map inet clawgress lapse4 { type ipv4_addr . mark : mark; }
add map inet clawgress lapse6 { type ipv6_addr . mark : mark; }
add map inet clawgress group_lapse4 { type mark . ipv4_addr . mark : mark; }
add map inet clawgress group_lapse6 { type mark . ipv6_addr . mark : mark; }
add chain inet clawgress ok
add chain inet clawgress refuse
add chain inet clawgress regroup_out
add chain inet clawgress regroup_in
add chain inet clawgress audit_out
add chain inet clawgress audit_in
add chain inet clawgress unlisted_out
add chain inet clawgress unlisted_in
add chain inet clawgress admit
add chain inet clawgress readmit
add chain inet clawgress outward
add chain inet clawgress inward
add chain inet clawgress resolve { type filter hook output priority filter - 10; policy accept; }
add chain inet clawgress intercept { type filter hook prerouting priority mangle; policy accept; }
add chain inet clawgress forward { type filter hook forward priority filter; policy accept; }
`;

/** Makes a policy table that stamps nothing of whatever stands, without reading any release: then only the lifeline is open. */
export const lifelineRuleset = `add table inet clawgress
add chain inet clawgress intercept { type filter hook prerouting priority mangle; policy accept; }
flush chain inet clawgress intercept
add chain inet clawgress forward { type filter hook forward priority filter; policy accept; }
flush chain inet clawgress forward
add rule inet clawgress forward meta mark set 0x00000000
add chain inet clawgress resolve { type filter hook output priority filter - 10; policy accept; }
flush chain inet clawgress resolve
`;
/** Sets that only an apply writes, and empties before. */
export const refilledSets = [
  "audited",
  "resolvers4",
  "resolvers6",
  "answers4",
  "answers6",
  "deny4",
  "deny6",
  "group_deny4",
  "group_deny6",
] as const;

/** The same for maps. */
export const refilledMaps = ["net_hours", "lapse4", "lapse6", "group_lapse4", "group_lapse6"] as const;

/** Maps that only an apply writes, so that it may empty them: pins, `live` and `lan` are written by others. */
export const staticMaps = [
  ...(["client4", "client6", "group4", "group6", "tcp_ports", "udp_ports", "proxied", "net4", "net6"] as const),
  ...(["limit4", "limit6", "exfil_relays"] as const),
] as const;
/** Sets that only an apply writes, and never empties: an element of it counts what its host sends. */
export const staticSets = ["budgets"] as const;
export type StaticSet =
  | (typeof staticMaps)[number]
  | (typeof refilledMaps)[number]
  | (typeof staticSets)[number]
  | (typeof refilledSets)[number];

const verdict = markToken(VERDICT);

/**
 * Returns the rules of the policy table, each chain emptied first. They only stamp; the base table decides. A packet
 * carries its group in `meta mark`, a connection its grant in `ct mark`; both are compared with the set `live`.
 *
 * A chain is entered by `goto`, never by `jump`: a return from `admit` must end with nothing stamped. Only `regroup_out`
 * and `regroup_in`, which find out the group again, are jumped to: they stamp nothing.
 */
export function renderChains(parts: ChainParts): string {
  const chains: readonly (readonly [name: string, rules: readonly string[]])[] = [
    ["ok", [`meta mark set ${verdict}`]],
    ["refuse", ["meta mark set 0x00000000"]],
    ["regroup_out", usesSchedules(parts) ? regroupRules(parts, "saddr") : []],
    ["regroup_in", usesSchedules(parts) ? regroupRules(parts, "daddr") : []],
    ["audit_out", parts.hasAudit ? auditRules("daddr") : []],
    ["audit_in", parts.hasAudit ? auditRules("saddr") : []],
    ["unlisted_out", parts.hasAudit ? unlistedRules(parts, "daddr") : []],
    ["unlisted_in", parts.hasAudit ? unlistedRules(parts, "saddr") : []],
    ["admit", admitRules(parts, "daddr", "dport")],
    ["readmit", admitRules(parts, "saddr", "sport")],
    ["outward", outwardRules(parts)],
    ["inward", inwardRules(parts)],
    ["intercept", interceptRules(parts)],
    ["forward", forwardRules(parts)],
    ["resolve", resolveRules(parts)],
  ];
  return chains
    .map(([name, rules]) => {
      const lines = rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`);
      return `flush chain inet clawgress ${name}\n${lines.join("")}`;
    })
    .join("");
}

function forwardRules({ denyAll }: ChainParts): readonly string[] {
  const clear = "meta mark set 0x00000000";
  if (denyAll) return [clear];
  return [clear, "ct state invalid return", "iifname @lan goto outward", "oifname @lan goto inward"];
}

/**
 * Questions to the resolvers of inner zones: the base table accepts them of named's user, and of nobody else that it
 * confines. What a name's `answers` cover has a stamp of its own, which it accepts of the proxy's user alone.
 */
function resolveRules({ resolverFamilies, answerFamilies }: ChainParts): readonly string[] {
  const ip = (family: Family): string => (family === 4 ? "ip" : "ip6");
  return [
    ...resolverFamilies.flatMap((family) =>
      ["udp", "tcp"].map(
        (protocol) => `${ip(family)} daddr @resolvers${family} ${protocol} dport 53 meta mark set ${verdict}`,
      ),
    ),
    ...answerFamilies.map(
      (family) => `${ip(family)} daddr @answers${family} tcp dport { 80, 443 } meta mark set ${markToken(ANSWER)}`,
    ),
  ];
}

/**
 * Which new connections to 443 and 80 the base table redirects to the proxy: those of groups in SNI mode, but for plain
 * HTTP to a network that opens port 80. A link-local source belongs to no host entry and is never forwarded; the proxy
 * is no way round that.
 */
function interceptRules(parts: ChainParts): readonly string[] {
  if (parts.denyAll || !parts.isProxied) return [];
  const intercept = markToken(INTERCEPT);
  return [
    "iifname != @lan return",
    "meta l4proto != tcp return",
    "tcp dport != { 80, 443 } return",
    "ct state != new return",
    "ip6 saddr fe80::/10 return",
    "fib daddr type != unicast return",
    "ct mark set 0x00000000",
    ...classifyRules(parts, "saddr", "ct mark"),
    "meta mark set ct mark map @proxied",
    `meta mark != ${intercept} ct mark set 0x00000000 return`,
    "tcp dport 443 ct mark set 0x00000000 return",
    "meta mark set ct mark",
    "ct mark set 0x00000000",
    "ct mark set tcp dport map @tcp_ports",
    ...networkRules(parts, "daddr"),
    ...openNetworkRules(parts),
    "ct mark set 0x00000000",
    `meta mark set ${intercept}`,
  ];
}

function outwardRules(parts: ChainParts): readonly string[] {
  return [
    "oifname @lan return",
    ...classifyRules(parts, "saddr"),
    ...denyRules(parts, "daddr"),
    ...lapsingRules(parts, "daddr"),
    "ct state established,related meta mark . ct mark @live goto ok",
    ...hoursRules(parts, "out", "ct state established,related ", ["net_hours", "name_hours"]),
    "ct direction original ct state new,established goto admit",
    ...(parts.hasAudit ? ["ct direction original meta mark @audited goto audit_out"] : []),
    "meta mark set 0x00000000",
  ];
}

function inwardRules(parts: ChainParts): readonly string[] {
  return [
    ...classifyRules(parts, "daddr"),
    ...denyRules(parts, "saddr"),
    ...lapsingRules(parts, "saddr"),
    "ct state established,related meta mark . ct mark @live goto ok",
    ...hoursRules(parts, "in", "ct state established,related ", ["net_hours", "name_hours"]),
    // A flow whose grant went, but that another rule still allows, goes on whichever side speaks first.
    "ct direction reply ct state established goto readmit",
    ...(parts.hasAudit ? ["ct direction reply meta mark @audited goto audit_in"] : []),
    "meta mark set 0x00000000",
  ];
}

/** The group of the client: by its own address, else by the range that it is in, else the global one. */
export function classifyRules(
  { globalGroup }: Pick<ChainParts, "globalGroup">,
  side: "saddr" | "daddr",
  mark: "meta mark" | "ct mark" = "meta mark",
): readonly string[] {
  return [
    `${mark} set ip ${side} map @client4`,
    `${mark} set ip6 ${side} map @client6`,
    `${mark} 0x00000000 ${mark} set ip ${side} map @group4`,
    `${mark} 0x00000000 ${mark} set ip6 ${side} map @group6`,
    `${mark} 0x00000000 ${mark} set ${markToken(globalGroup)}`,
  ];
}

/**
 * Denied networks are asked before any grant, for flows that go on too: a grant belongs to a name, and stays in force
 * while some of the name's addresses are denied. Under audit they go the way of all that is only spared, so that private
 * ones stay closed even where a network allows them.
 */
function denyRules({ denied, hasAudit }: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  if (denied === null) return [];
  const [direction, side] = farAddress === "daddr" ? ["original", "out"] : ["reply", "in"];
  const rulesFor = (match: string): readonly string[] =>
    hasAudit
      ? [
          `meta mark != @audited ${match} goto refuse`,
          `meta mark @audited ct direction ${direction} ${match} goto audit_${side}`,
        ]
      : [`${match} goto refuse`];
  const ofGroup = (family: Family, length: number): readonly string[] => {
    const { field, mask, lengthMark } = prefixParts(family, length, farAddress);
    // A constant cannot stand in a concatenation alone.
    return rulesFor(`meta mark . (${field} & ${mask}) . (ct mark & 0x00000000 | ${lengthMark}) @group_deny${family}`);
  };
  return [
    ...(denied.everyone4 ? rulesFor(`ip ${farAddress} @deny4`) : []),
    ...(denied.everyone6 ? rulesFor(`ip6 ${farAddress} @deny6`) : []),
    ...denied.groupLengths4.flatMap((length) => ofGroup(4, length)),
    ...denied.groupLengths6.flatMap((length) => ofGroup(6, length)),
  ];
}

/**
 * What is denied until a time. A denial whose schedule is not in `window` holds: so it does until somebody alive says
 * that it has ended.
 */
function lapsingRules({ lapsing, hasAudit }: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  if (lapsing === null) return [];
  const unlessAudited = hasAudit ? "meta mark != @audited " : "";
  const rules = (family: Family, length: number, ofGroup: boolean): readonly string[] => {
    const { field, mask, lengthMark } = prefixParts(family, length, farAddress);
    const key = `${ofGroup ? "meta mark . " : ""}(${field} & ${mask}) . (ct mark & 0x00000000 | ${lengthMark})`;
    return [
      `${unlessAudited}meta mark set ${key} map @${ofGroup ? "group_" : ""}lapse${family}`,
      `meta mark >= ${scheduleMin} meta mark . meta time != @window goto refuse`,
      `meta mark >= ${scheduleMin} jump regroup_${farAddress === "daddr" ? "out" : "in"}`,
    ];
  };
  return [
    ...lapsing.everyoneLengths4.flatMap((length) => rules(4, length, false)),
    ...lapsing.everyoneLengths6.flatMap((length) => rules(6, length, false)),
    ...lapsing.groupLengths4.flatMap((length) => rules(4, length, true)),
    ...lapsing.groupLengths6.flatMap((length) => rules(6, length, true)),
  ];
}

const scheduleMin = markToken(SCHEDULE_MIN);

function usesSchedules({ hasHours, lapsing }: ChainParts): boolean {
  return hasHours || lapsing !== null;
}

/**
 * A grant that is open at times is not in `live`: `name_hours` and `net_hours` lead from it to its schedule, and `window`
 * has the times of that. Meanwhile `meta mark` holds the schedule; whoever is not within its hours gets the group back.
 */
function hoursRules(
  parts: ChainParts,
  side: "out" | "in",
  condition: string,
  maps: readonly ("net_hours" | "name_hours")[],
): readonly string[] {
  if (!parts.hasHours) return [];
  return [
    ...maps.map((map) => `${condition}meta mark set meta mark . ct mark map @${map}`),
    `meta mark >= ${scheduleMin} meta mark . meta time @window goto ok`,
    `meta mark >= ${scheduleMin} jump regroup_${side}`,
  ];
}

function regroupRules(parts: ChainParts, side: "saddr" | "daddr"): readonly string[] {
  return ["meta mark set 0x00000000", ...classifyRules(parts, side)];
}

/** Plain HTTP to a network that opens port 80 goes straight there; while the network is closed, by the names of the proxy. */
function openNetworkRules({ hasHours }: ChainParts): readonly string[] {
  const leave = "meta mark set 0x00000000 ct mark set 0x00000000 return";
  if (!hasHours) return [`ct mark >= ${markToken(NETWORK_GRANT_MIN)} ${leave}`];
  return [
    `meta mark . ct mark @live ${leave}`,
    "meta mark set meta mark . ct mark map @net_hours",
    `meta mark . meta time @window ${leave}`,
  ];
}

/**
 * The grant of a flow, found by its client, the far address and the far port. A lookup that finds nothing leaves the
 * mark as it is. The far port's class travels in `meta mark` while the pins are asked, so that the connection's mark
 * goes from one grant to another in one step: packets of both directions may be looked at at once. What a client asked
 * over the other address family is pinned to its group, since nobody knows its address there.
 */
function admitRules(parts: ChainParts, farAddress: "daddr" | "saddr", farPort: "dport" | "sport"): readonly string[] {
  const client = farAddress === "daddr" ? "saddr" : "daddr";
  const side = farAddress === "daddr" ? "out" : "in";
  const pinKey = (ip: "ip" | "ip6"): string =>
    farAddress === "daddr" ? `${ip} saddr . ${ip} daddr` : `${ip} daddr . ${ip} saddr`;
  const markClass = [
    "ct mark set 0x00000000",
    `ct mark set tcp ${farPort} map @tcp_ports`,
    `ct mark set udp ${farPort} map @udp_ports`,
  ];
  return [
    "meta mark set 0x00000000",
    `meta mark set tcp ${farPort} map @tcp_ports`,
    `meta mark set udp ${farPort} map @udp_ports`,
    `meta mark 0x00000000 ct mark set 0x00000000 ${parts.hasAudit ? `goto unlisted_${side}` : "return"}`,
    `ct mark set ${pinKey("ip")} . meta mark map @pin4`,
    `ct mark set ${pinKey("ip6")} . meta mark map @pin6`,
    "meta mark set 0x00000000",
    ...classifyRules(parts, client),
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["name_hours"]),
    ...markClass,
    `ct mark set meta mark . ip ${farAddress} . ct mark map @group_pin4`,
    `ct mark set meta mark . ip6 ${farAddress} . ct mark map @group_pin6`,
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["name_hours"]),
    ...markClass,
    ...networkRules(parts, farAddress),
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["net_hours"]),
    "ct mark set 0x00000000",
    ...(parts.hasAudit ? [`meta mark @audited goto audit_${side}`] : []),
    "meta mark set 0x00000000",
  ];
}

/** A flow on no port of the policy, or of no protocol that has ports: its group is not known any more. */
function unlistedRules(parts: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  const isOut = farAddress === "daddr";
  return [
    ...classifyRules(parts, isOut ? "saddr" : "daddr"),
    `meta mark @audited goto audit_${isOut ? "out" : "in"}`,
    "meta mark set 0x00000000",
  ];
}

/**
 * What an audit adds: everything but private and reserved addresses. Such a flow has no grant, so that the first
 * release that enforces ends it.
 */
function auditRules(farAddress: "daddr" | "saddr"): readonly string[] {
  const closed = (family: Family): string =>
    closedInAudit
      .filter((range) => range.family === family)
      .map(({ first, last }) => {
        const from = formatAddress({ family, value: first });
        return first === last ? from : `${from}-${formatAddress({ family, value: last })}`;
      })
      .join(", ");
  return [
    `ip ${farAddress} { ${closed(4)} } goto refuse`,
    `ip6 ${farAddress} { ${closed(6)} } goto refuse`,
    auditLogRule,
    "goto ok",
  ];
}

function networkRules(parts: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  return [
    ...parts.prefixLengths4.map((length) => networkRule(4, length, farAddress)),
    ...parts.prefixLengths6.map((length) => networkRule(6, length, farAddress)),
  ];
}

/**
 * One hash lookup for each prefix length, the longest first, instead of one in an interval map: with two fields of
 * exact values beside the interval, that one took 13 s to load with 30,000 elements and 54 s to reload, this 0.4 s.
 * Once a grant is found, its high bits keep the rules for shorter prefixes from finding another.
 */
function networkRule(family: Family, prefixLength: number, farAddress: "daddr" | "saddr"): string {
  const { field, mask, lengthMark } = prefixParts(family, prefixLength, farAddress);
  return `ct mark set meta mark . (${field} & ${mask}) . (ct mark | ${lengthMark}) map @net${family}`;
}

function prefixParts(
  family: Family,
  prefixLength: number,
  farAddress: "daddr" | "saddr",
): { readonly field: string; readonly mask: string; readonly lengthMark: string } {
  return {
    field: family === 4 ? `ip ${farAddress}` : `ip6 ${farAddress}`,
    mask: formatAddress({ family, value: prefixMask(family, prefixLength) }),
    lengthMark: markToken(prefixLength * 0x1_0000),
  };
}

function prefixMask(family: Family, prefixLength: number): bigint {
  const bits = addressBits(family);
  numberToken(prefixLength, 0, bits);
  return (1n << BigInt(bits)) - (1n << BigInt(bits - prefixLength));
}
