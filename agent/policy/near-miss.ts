import { type Address, cidrRange } from "./cidr.ts";
import { type Hours, hoursText, nextInterval } from "./hours.ts";
import { type NameLookup, type NameTable, suffixesOf } from "./name-table.ts";
import { patternText } from "./pattern-text.ts";
import type {
  Group,
  NameDenial,
  NameRule,
  NetworkDenial,
  NetworkRule,
  Policy,
  PolicyEntry,
  PortRange,
} from "./policy.ts";
import { portText } from "./ports.ts";
import { buildPrefixTable, type PrefixTable } from "./prefix-table.ts";
import { TLS_PORT } from "./proxied.ts";
import { instantText } from "./wall-time.ts";

/** A rule, and the group that has it. */
interface Owned<Rule> {
  readonly group: string;
  readonly rule: Rule;
}

/** Which group first allows a name or network: answers 'who else may?' without going through all groups. */
export interface OtherGroups {
  readonly exact: Pick<NameLookup<Owned<NameRule>>, "get">;
  readonly subdomains: Pick<NameLookup<Owned<NameRule>>, "get">;
  readonly networks: PrefixTable<Owned<NetworkRule>>;
}

/** The rule that almost allowed something, or the entry that denies it, and how, for people; the rule is null where none would have. */
export interface NearMiss {
  readonly text: string;
  readonly rule: PolicyEntry | null;
}

/**
 * Returns the first group, in the policy's order, of every pattern and network. Groups whose names are in tables of
 * their own are asked there.
 */
export function indexGroups(policy: Policy, tables: ReadonlyMap<string, NameTable>): OtherGroups {
  const networks = policy.groups.flatMap((group) =>
    group.networks.map((rule) => ({ range: cidrRange(rule.network), value: { group: group.name, rule } })),
  );
  return {
    exact: indexNames(policy, tables, "exact"),
    subdomains: indexNames(policy, tables, "subdomains"),
    networks: buildPrefixTable(networks),
  };
}

function indexNames(
  policy: Policy,
  tables: ReadonlyMap<string, NameTable>,
  kind: "exact" | "subdomains",
): OtherGroups["exact"] {
  const known = new Map<string, Owned<NameRule> & { readonly order: number }>();
  const apart: { readonly group: string; readonly order: number; readonly table: NameTable }[] = [];
  for (const [order, { name: group, names }] of policy.groups.entries()) {
    const table = tables.get(group);
    if (table !== undefined) apart.push({ group, order, table });
    for (const rule of names) {
      const { name } = rule.pattern;
      if (rule.pattern.kind === kind && !known.has(name)) known.set(name, { group, order, rule });
    }
  }
  if (apart.length === 0) return known;
  return {
    get: (name) => {
      const found = known.get(name);
      for (const { group, order, table } of apart) {
        if (found !== undefined && found.order < order) return found;
        const rule = table[kind].get(name)?.[0];
        if (rule !== undefined) return { group, rule };
      }
      return found;
    },
  };
}

/** Returns the nearest rule to a denied name, or null. The group's own rules come before those of others. */
export function explainName(group: Group, table: NameTable, others: OtherGroups, name: string): NearMiss | null {
  const below = table.subdomains.get(name);
  if (below !== undefined) {
    return { text: `*.${name} is listed: the subdomains of ${name}, not ${name} itself`, rule: below[0] ?? null };
  }
  for (const suffix of suffixesOf(name)) {
    const rule = table.exact.get(suffix)?.[0];
    if (rule !== undefined) return { text: `${suffix} is listed, but not its subdomains`, rule };
  }
  const other = others.exact.get(name);
  if (other !== undefined && other.group !== group.name) {
    return { text: `${name} is allowed for ${whoIs(other.group)}`, rule: other.rule };
  }
  for (const suffix of suffixesOf(name)) {
    const wider = others.subdomains.get(suffix);
    if (wider === undefined || wider.group === group.name) continue;
    return { text: `*.${suffix} is allowed for ${whoIs(wider.group)}`, rule: wider.rule };
  }
  return null;
}

/** Returns the nearest rule to a denied address, or null. */
export function explainAddress(group: Group, others: OtherGroups, address: Address): NearMiss | null {
  const other = others.networks.find(address).find((found) => found.group !== group.name);
  if (other === undefined) return null;
  return { text: `${other.rule.network} is allowed for ${whoIs(other.group)}`, rule: other.rule };
}

/** Returns what denies, and how it says so. */
export function explainDenial(denial: NameDenial | NetworkDenial): NearMiss {
  return { text: `deny lists ${textOf(denial)}`, rule: denial };
}

/** Returns the rule that has expired, and when. */
export function explainExpired(rule: NameRule | NetworkRule): NearMiss {
  const when = rule.expiresS === undefined ? "" : ` at ${instantText(rule.expiresS)}`;
  return { text: `${textOf(rule)} expired${when}`, rule };
}

/** Returns the rule that holds in other hours, which those are, and when it opens. */
export function explainHours(rule: NameRule | NetworkRule, windows: readonly Hours[], nowS: number): NearMiss {
  const next = nextInterval({ windows, fromS: null, untilS: rule.expiresS ?? null }, nowS);
  const opens = next === null ? "it never opens" : `it opens at ${instantText(next.fromS)}`;
  return { text: `${textOf(rule)} is allowed ${windows.map(hoursText).join(" and ")}; ${opens}`, rule };
}

function textOf(entry: PolicyEntry): string {
  return "pattern" in entry ? patternText(entry.pattern) : entry.network;
}

/** Returns why no address and no UDP opens a port, for people, or null when SNI mode has nothing to do with it. */
export function explainProxied(group: Group, port: number): string | null {
  if (!group.isProxied || port !== TLS_PORT.first) return null;
  return "in SNI mode port 443 opens over TCP only, and by the name in the TLS ClientHello only";
}

/** Returns the ports on which a name or network is allowed, for people. */
export function explainPorts(what: string, ports: readonly PortRange[]): string {
  if (ports.length === 0) return `${what} resolves, but no port of it is open`;
  return `${what} is allowed on ${ports.map(portText).join(", ")}`;
}

function whoIs(group: string): string {
  return group === "*" ? "clients without an allow list of their own" : `host ${group}`;
}
