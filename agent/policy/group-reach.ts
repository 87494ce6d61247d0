import { type Address, type AddressRange, cidrRange, compareRanges } from "./cidr.ts";
import { buildDenialTable, type DenialTable } from "./denial-table.ts";
import { buildNameTable, findNameRules, type NameTable } from "./name-table.ts";
import type {
  Cidr,
  Denials,
  ForwardZone,
  Group,
  NamePattern,
  NameRule,
  NetworkRule,
  Policy,
  PortRange,
} from "./policy.ts";
import { unionPorts } from "./ports.ts";
import { buildPrefixTable } from "./prefix-table.ts";
import { closedInAudit } from "./special.ts";

/** What the clients of one group may reach under a policy: its rules, less what the policy denies for all. */
export interface GroupReach {
  readonly names: readonly NameRule[];
  readonly networks: readonly NetworkRule[];
  readonly deny: Denials;
  readonly mode: "enforce" | "audit" | "deny-all";
  /** SNI mode: what is opened is a name at a proxy, not its addresses. */
  readonly isProxied: boolean;
  /** Everything else that a group or policy says, as text: another text may mean anything. */
  readonly rest: string;
  readonly zones: string;
  /** Text of all of it without places, labels and notes: the same text is the same reach. */
  readonly text: string;
}

const GROUP_KEYS = new Set(["name", "names", "networks", "deny", "mode", "isProxied", "place"]);
const POLICY_KEYS = new Set(["version", "mode", "forward", "deny", "groups", "hosts", "limits"]);

/** Returns what the clients of a group may reach. */
export function reachOf(policy: Policy, group: Group): GroupReach {
  const deny: Denials = {
    names: [...(policy.deny?.names ?? []), ...(group.deny?.names ?? [])],
    networks: [...(policy.deny?.networks ?? []), ...(group.deny?.networks ?? [])],
  };
  const mode = policy.mode === "deny-all" ? policy.mode : (group.mode ?? "enforce");
  const { isProxied } = group;
  const rest = textOf([pickOthers(group, GROUP_KEYS), pickOthers(policy, POLICY_KEYS)]);
  const zones = textOf((policy.forward ?? []) satisfies readonly ForwardZone[]);
  const { names, networks } = group;
  const text = textOf([names, networks, deny, mode, isProxied, rest, zones]);
  return { names, networks, deny, mode, isProxied, rest, zones, text };
}

function pickOthers(value: object, known: ReadonlySet<string>): readonly unknown[] {
  return Object.entries(value).filter(([key]) => !known.has(key));
}

/** What people wrote beside a rule, and where it stands, opens nothing. */
const silent = new Set(["place", "label", "notes"]);

function textOf(value: unknown): string {
  return JSON.stringify(value, (key, part) => (silent.has(key) ? undefined : part));
}

/**
 * Returns whether the second lets a client reach anything that the first does not. Errs on one side only: what it cannot
 * tell apart, it calls wider.
 */
export function isWider(before: GroupReach, after: GroupReach): boolean {
  if (before.text === after.text || isClosed(after)) return false;
  if (before.mode === "deny-all" || (after.mode === "audit" && before.mode !== "audit")) return true;
  if (before.rest !== after.rest || before.zones !== after.zones) return true;
  if (before.isProxied && !after.isProxied) return true;
  const denials = buildDenialTable(after.deny);
  if (liftsDenial(before, after, denials)) return true;
  const audited = before.mode === "audit";
  return hasWiderName(before, after, denials, audited) || hasWiderNetwork(before, after, denials, audited);
}

function isClosed({ mode, names, networks }: GroupReach): boolean {
  return mode === "deny-all" || (mode === "enforce" && names.length === 0 && networks.length === 0);
}

/** A denial wins over every rule, so one that went may open what rules always allowed. */
function liftsDenial(before: GroupReach, after: GroupReach, denials: DenialTable): boolean {
  const same = new Set(after.deny.names.map(textOf));
  const names = before.deny.names.filter(
    (denial) => !denials.coversPattern(denial.pattern) && !same.has(textOf(denial)),
  );
  const opens = (denied: NamePattern): boolean =>
    after.mode === "audit" || after.names.some(({ pattern }) => covers(pattern, denied) || covers(denied, pattern));
  if (names.some(({ pattern }) => opens(pattern))) return true;
  // A denied network takes addresses away from names as well, and nobody knows which.
  const kept = after.deny.networks.map((denial) => ({ range: cidrRange(denial.network), denial }));
  return before.deny.networks.some(
    (old) => !kept.some(({ range, denial }) => holds(range, cidrRange(old.network)) && lastsAsLong(denial, old)),
  );
}

function hasWiderName(before: GroupReach, after: GroupReach, denials: DenialTable, audited: boolean): boolean {
  const table = buildNameTable(before.names);
  const same = new Set(before.names.map(textOf));
  return after.names.some((rule) => {
    if (same.has(textOf(rule)) || denials.coversPattern(rule.pattern)) return false;
    const matching = rulesFor(table, rule.pattern).filter((known) => lastsAsLong(known, rule));
    const answers = new Set(matching.flatMap((known) => known.answers ?? []));
    if ((rule.answers ?? []).some((network) => !answers.has(network))) return true;
    if (audited && !rule.pattern.name.endsWith("invalid")) return false;
    return !holdsPorts(
      matching.flatMap(({ ports }) => ports),
      rule.ports,
    );
  });
}

/** The rules that match every name of a pattern. */
function rulesFor(table: NameTable, { kind, name }: NamePattern): readonly NameRule[] {
  if (kind === "exact") return findNameRules(table, name).flat();
  return findNameRules(table, `*.${name}`)
    .flat()
    .filter(({ pattern }) => pattern.kind === "subdomains");
}

/** Whether an entry holds until another one expires, or longer. */
function lastsAsLong(entry: { readonly expiresS?: number }, other: { readonly expiresS?: number }): boolean {
  return (entry.expiresS ?? Number.POSITIVE_INFINITY) >= (other.expiresS ?? Number.POSITIVE_INFINITY);
}

function covers(outer: NamePattern, inner: NamePattern): boolean {
  if (outer.kind === "exact") return inner.kind === "exact" && inner.name === outer.name;
  return inner.name.endsWith(`.${outer.name}`) || (inner.kind === "subdomains" && inner.name === outer.name);
}

function hasWiderNetwork(before: GroupReach, after: GroupReach, denials: DenialTable, audited: boolean): boolean {
  const same = new Set(before.networks.map(textOf));
  const changed = after.networks.filter((rule) => !same.has(textOf(rule)));
  if (changed.length === 0) return false;
  const ranges = before.networks.map((rule) => ({ range: cidrRange(rule.network), value: rule }));
  const table = buildPrefixTable(ranges);
  const cuts = cutsOf([...ranges.map(({ range }) => range), ...rangesOf(after.deny), ...closedInAudit]);
  const isOpen = (address: Address, rule: NetworkRule): boolean => {
    // After every denial that ends: what is denied for ever.
    if (denials.findAddress(address, Number.POSITIVE_INFINITY) !== null) return true;
    if (audited && !closedInAudit.some((range) => holds(range, { ...rangeAt(address) }))) return true;
    return holdsPorts(
      table
        .find(address)
        .filter((known) => lastsAsLong(known, rule))
        .flatMap(({ ports }) => ports),
      rule.ports,
    );
  };
  return changed.some((rule) => {
    const range = cidrRange(rule.network);
    // Between two cuts every address is in the same networks, so the first stands for all.
    const starts = [range.first, ...cutsWithin(cuts[range.family], range)];
    return starts.some((value) => !isOpen({ family: range.family, value }, rule));
  });
}

function rangesOf({ networks }: Denials): readonly AddressRange[] {
  return networks.map(({ network }: { readonly network: Cidr }) => cidrRange(network));
}

function rangeAt({ family, value }: Address): AddressRange {
  return { family, first: value, last: value };
}

type Cuts = { readonly 4: readonly bigint[]; readonly 6: readonly bigint[] };

/** Returns where ranges begin, and where one ended, for each family, ascending. */
export function cutsOf(ranges: readonly AddressRange[]): Cuts {
  const of = (family: 4 | 6): readonly bigint[] => {
    const own = ranges.filter((range) => range.family === family).sort(compareRanges);
    const cuts = new Set(own.flatMap(({ first, last }) => [first, last + 1n]));
    return [...cuts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  };
  return { 4: of(4), 6: of(6) };
}

function cutsWithin(cuts: readonly bigint[], { first, last }: AddressRange): readonly bigint[] {
  let low = 0;
  let high = cuts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((cuts[middle] ?? 0n) <= first) low = middle + 1;
    else high = middle;
  }
  const within: bigint[] = [];
  for (let at = low; at < cuts.length && (cuts[at] ?? 0n) <= last; at++) within.push(cuts[at] ?? 0n);
  return within;
}

function holds(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

function holdsPorts(outer: readonly PortRange[], inner: readonly PortRange[]): boolean {
  const union = unionPorts(outer);
  return unionPorts(inner).every(({ protocol, first, last }) =>
    union.some((range) => range.protocol === protocol && range.first <= first && last <= range.last),
  );
}
