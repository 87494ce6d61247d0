import { compareTexts } from "./compare-texts.ts";
import { patternText } from "./pattern-text.ts";
import type { Group, Policy, PortRange } from "./policy.ts";
import { collectFacts } from "./policy-facts.ts";
import { comparePorts, portText } from "./ports.ts";

/** One entry of one group and the ports in question, as canonical texts. */
export interface ChangedEntry {
  readonly group: string;
  /** `api.example.com`, `*.example.com` or `192.0.2.0/24` */
  readonly entry: string;
  readonly ports: readonly string[];
}

/** Another `egress_kbps`; null: none. `host` is `*` for the clients in no host entry. */
export interface ChangedLimit {
  readonly host: string;
  readonly before: number | null;
  readonly after: number | null;
}

/** What separates two policies, each list sorted by group, then entry. */
export interface PolicyChanges {
  readonly domainsAdded: readonly ChangedEntry[];
  readonly domainsRemoved: readonly ChangedEntry[];
  readonly networksAdded: readonly ChangedEntry[];
  readonly networksRemoved: readonly ChangedEntry[];
  /** Ports that entries of both policies gained. */
  readonly portsAdded: readonly ChangedEntry[];
  readonly portsRemoved: readonly ChangedEntry[];
  /** Hosts that are new, gone, or have other sources or another group; sorted. */
  readonly hostsAdded: readonly string[];
  readonly hostsRemoved: readonly string[];
  readonly hostsChanged: readonly string[];
  /** Of hosts that are in both policies, or new with a limit; sorted by host. */
  readonly limitsChanged: readonly ChangedLimit[];
  /** What else came and went, a sentence each: denials, private answers. Sorted. */
  readonly rulesAdded: readonly string[];
  readonly rulesRemoved: readonly string[];
  /** Groups of both policies that entered or left SNI mode; sorted. */
  readonly proxyChanged: readonly { readonly group: string; readonly isProxied: boolean }[];
  /** Null when the mode is the same. */
  readonly mode: Policy["mode"] | null;
}

/** Lengths of the lists of a PolicyChanges; of ports, how many ranges. */
export type ChangeCounts = { readonly [list in Exclude<keyof PolicyChanges, "mode" | "proxyChanged">]: number };

interface Entry {
  readonly group: string;
  readonly entry: string;
  readonly ports: readonly PortRange[];
}

/**
 * Returns what changes from one policy to the next (null: nothing was allowed). An entry is a (group, name or network) with
 * the union of its rules' ports; the order of rules, labels and places do not count.
 */
export function comparePolicies(before: Policy | null, after: Policy): PolicyChanges {
  const [old, now] = withoutSame(groupsBeside(before, after), groupsBeside(after, before));
  const domains = compareEntries(collect(old, "names"), collect(now, "names"));
  const networks = compareEntries(collect(old, "networks"), collect(now, "networks"));
  const ports = (list: "portsAdded" | "portsRemoved"): readonly ChangedEntry[] =>
    [...domains[list], ...networks[list]].sort(compareEntry);
  return {
    domainsAdded: domains.added,
    domainsRemoved: domains.removed,
    networksAdded: networks.added,
    networksRemoved: networks.removed,
    portsAdded: ports("portsAdded"),
    portsRemoved: ports("portsRemoved"),
    ...compareHosts(before, after),
    limitsChanged: compareLimits(before, after),
    ...compareFacts(before, after),
    proxyChanged: compareProxied(before, after),
    mode: before === null || before.mode === after.mode ? null : after.mode,
  };
}

/** Returns how much changed. */
export function countChanges(changes: PolicyChanges): ChangeCounts {
  const ranges = (entries: readonly ChangedEntry[]): number =>
    entries.reduce((sum, entry) => sum + entry.ports.length, 0);
  return {
    domainsAdded: changes.domainsAdded.length,
    domainsRemoved: changes.domainsRemoved.length,
    networksAdded: changes.networksAdded.length,
    networksRemoved: changes.networksRemoved.length,
    portsAdded: ranges(changes.portsAdded),
    portsRemoved: ranges(changes.portsRemoved),
    hostsAdded: changes.hostsAdded.length,
    hostsRemoved: changes.hostsRemoved.length,
    hostsChanged: changes.hostsChanged.length,
    limitsChanged: changes.limitsChanged.length,
    rulesAdded: changes.rulesAdded.length,
    rulesRemoved: changes.rulesRemoved.length,
  };
}

function compareFacts(before: Policy | null, after: Policy): Pick<PolicyChanges, "rulesAdded" | "rulesRemoved"> {
  const [old, now] = [new Set(collectFacts(before)), new Set(collectFacts(after))];
  return {
    rulesAdded: [...now].filter((fact) => !old.has(fact)),
    rulesRemoved: [...old].filter((fact) => !now.has(fact)),
  };
}

/** Returns a policy's groups; a host that has a group of its own only in the other policy is shown with the global rules. */
function groupsBeside(policy: Policy | null, other: Policy | null): readonly Group[] {
  const groups = policy?.groups ?? [];
  const everyone = groups.find(({ name }) => name === "*");
  const elsewhere = new Set(other?.groups.map(({ name }) => name));
  const followers = (policy?.hosts ?? []).filter(({ name, group }) => group === "*" && elsewhere.has(name));
  return everyone === undefined ? groups : [...groups, ...followers.map(({ name }) => ({ ...everyone, name }))];
}

/**
 * Returns both policies' groups without the rules at the beginning and end of their lists that are the very same: policies
 * that were read one after the other share what did not change.
 */
function withoutSame(old: readonly Group[], now: readonly Group[]): readonly [readonly Group[], readonly Group[]] {
  const known = new Map(old.map((group) => [group.name, group]));
  const trimmed = new Map<string, Group>();
  const rest = now.map((group) => {
    const earlier = known.get(group.name);
    if (earlier === undefined) return group;
    const names = trimSame(earlier.names, group.names, (a, b) => a.pattern === b.pattern && a.ports === b.ports);
    const networks = trimSame(earlier.networks, group.networks, (a, b) => a === b);
    trimmed.set(group.name, { ...earlier, names: names[0], networks: networks[0] });
    return { ...group, names: names[1], networks: networks[1] };
  });
  return [old.map((group) => trimmed.get(group.name) ?? group), rest];
}

function trimSame<Rule>(
  old: readonly Rule[],
  now: readonly Rule[],
  isSame: (a: Rule, b: Rule) => boolean,
): readonly [readonly Rule[], readonly Rule[]] {
  const isSameAt = (a: number, b: number): boolean => {
    const [one, other] = [old[a], now[b]];
    return one !== undefined && other !== undefined && (one === other || isSame(one, other));
  };
  const most = Math.min(old.length, now.length);
  let first = 0;
  while (first < most && isSameAt(first, first)) first++;
  let last = 0;
  while (last < most - first && isSameAt(old.length - 1 - last, now.length - 1 - last)) last++;
  return [old.slice(first, old.length - last), now.slice(first, now.length - last)];
}

function collect(groups: readonly Group[], list: "names" | "networks"): ReadonlyMap<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const group of groups) {
    const rules =
      list === "names"
        ? group.names.map(({ pattern, ports }) => ({ entry: patternText(pattern), ports }))
        : group.networks.map(({ network, ports }) => ({ entry: network as string, ports }));
    for (const { entry, ports } of rules) {
      // No group or entry contains a line feed, so two pairs never share a key.
      const key = `${group.name}\n${entry}`;
      entries.set(key, { group: group.name, entry, ports: [...(entries.get(key)?.ports ?? []), ...ports] });
    }
  }
  return entries;
}

interface EntryChanges {
  readonly added: readonly ChangedEntry[];
  readonly removed: readonly ChangedEntry[];
  readonly portsAdded: readonly ChangedEntry[];
  readonly portsRemoved: readonly ChangedEntry[];
}

function compareEntries(before: ReadonlyMap<string, Entry>, after: ReadonlyMap<string, Entry>): EntryChanges {
  const none: readonly PortRange[] = [];
  const missing = (from: ReadonlyMap<string, Entry>, to: ReadonlyMap<string, Entry>): readonly ChangedEntry[] =>
    [...from].flatMap(([key, entry]) => (to.has(key) ? [] : [changed(entry, none)])).sort(compareEntry);
  const grown = (from: ReadonlyMap<string, Entry>, to: ReadonlyMap<string, Entry>): readonly ChangedEntry[] =>
    [...to]
      .flatMap(([key, entry]) => {
        const old = from.get(key);
        return old === undefined ? [] : [changed(entry, old.ports)];
      })
      .filter(({ ports }) => ports.length > 0)
      .sort(compareEntry);
  return {
    added: missing(after, before),
    removed: missing(before, after),
    portsAdded: grown(before, after),
    portsRemoved: grown(after, before),
  };
}

function changed(entry: Entry, without: readonly PortRange[]): ChangedEntry {
  return { group: entry.group, entry: entry.entry, ports: subtractPorts(entry.ports, without).map(portText) };
}

/** Returns the ports of one list that are in no range of the other, as few sorted ranges. */
function subtractPorts(ports: readonly PortRange[], without: readonly PortRange[]): readonly PortRange[] {
  const result: PortRange[] = [];
  for (const range of mergePorts(ports)) {
    let { first } = range;
    for (const hole of mergePorts(without)) {
      if (hole.protocol !== range.protocol || hole.last < first || hole.first > range.last) continue;
      if (hole.first > first) result.push({ protocol: range.protocol, first, last: hole.first - 1 });
      first = hole.last + 1;
    }
    if (first <= range.last) result.push({ protocol: range.protocol, first, last: range.last });
  }
  return result;
}

/** Joins ranges that overlap; ranges that only touch stay apart, as people wrote them: 80 and 81, not 80-81. */
function mergePorts(ports: readonly PortRange[]): readonly PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ports.toSorted(comparePorts)) {
    const previous = merged.at(-1);
    if (previous?.protocol === range.protocol && range.first <= previous.last) {
      merged[merged.length - 1] = { ...previous, last: Math.max(previous.last, range.last) };
    } else merged.push(range);
  }
  return merged;
}

function compareHosts(
  before: Policy | null,
  after: Policy,
): Pick<PolicyChanges, "hostsAdded" | "hostsRemoved" | "hostsChanged"> {
  const describe = (policy: Policy | null): ReadonlyMap<string, string> =>
    new Map(policy?.hosts.map(({ name, group, sources }) => [name, JSON.stringify([group, sources.toSorted()])]) ?? []);
  const old = describe(before);
  const now = describe(after);
  const hostsAdded = [...now.keys()].filter((name) => !old.has(name));
  const hostsRemoved = [...old.keys()].filter((name) => !now.has(name));
  const hostsChanged = [...now].flatMap(([name, text]) => (old.has(name) && old.get(name) !== text ? [name] : []));
  return {
    hostsAdded: hostsAdded.sort(compareTexts),
    hostsRemoved: hostsRemoved.sort(compareTexts),
    hostsChanged: hostsChanged.sort(compareTexts),
  };
}

function compareLimits(before: Policy | null, after: Policy): readonly ChangedLimit[] {
  const limitsOf = (policy: Policy | null): ReadonlyMap<string, number | null> =>
    new Map([
      ["*", policy?.limits?.egressKbps ?? null],
      ...(policy?.hosts.map(({ name, limits }) => [name, limits?.egressKbps ?? null] as const) ?? []),
    ]);
  const old = limitsOf(before);
  const changes = [...limitsOf(after)].map(([host, kbps]) => ({ host, before: old.get(host) ?? null, after: kbps }));
  return changes.filter((change) => change.before !== change.after).sort((a, b) => compareTexts(a.host, b.host));
}

function compareProxied(before: Policy | null, after: Policy): PolicyChanges["proxyChanged"] {
  // A release of an earlier version of this program says nothing, and means no.
  const old = new Map(before?.groups.map((group) => [group.name, group.isProxied === true]) ?? []);
  const changed = after.groups.filter(({ name, isProxied }) => old.has(name) && old.get(name) !== isProxied);
  return changed
    .map(({ name, isProxied }) => ({ group: name, isProxied }))
    .sort((a, b) => compareTexts(a.group, b.group));
}

function compareEntry(a: ChangedEntry, b: ChangedEntry): number {
  return compareTexts(a.group, b.group) || compareTexts(a.entry, b.entry);
}
