import { type AddressRange, cidrRange, compareRanges, type Family } from "../policy/cidr.ts";
import type { Cidr, Place, Policy } from "../policy/policy.ts";
import type { ProbeAddress } from "../settings/settings.ts";
import { refuseRule } from "./tokens.ts";

/** Addresses of clients and the group that they follow. */
export interface ClientRange extends AddressRange {
  readonly group: string;
  /** The line that says so; null for a probe's reserved address, which no policy names. */
  readonly place: Place | null;
}

/** Who is who: single addresses, looked up by hash, and disjoint wider ranges for those that are in none. */
export interface ClientGroups {
  readonly single: readonly ClientRange[];
  readonly wide: readonly ClientRange[];
}

/**
 * Returns the groups of all clients that the policy names, sorted and disjoint within each list; the most specific
 * source wins. A client in neither list follows the group `*`. Probes speak from their reserved addresses as their hosts.
 * @throws AgentError POLICY_INVALID when a probe speaks as a host that the policy does not have.
 */
export function clientGroups(policy: Policy, probes: readonly ProbeAddress[]): ClientGroups {
  const singles = new Map<string, ClientRange>();
  const wide: ClientRange[] = [];
  for (const host of policy.hosts) {
    for (const source of host.sources) {
      const range = { ...cidrRange(source), group: host.group, place: host.place };
      if (range.first === range.last) singles.set(keyOf(range), range);
      else wide.push(range);
    }
  }
  for (const probe of probes) {
    const group = groupOfProbe(policy, probe.host);
    for (const cidr of [`${probe.address4}/32`, `${probe.address6}/128`]) {
      const range = { ...cidrRange(cidr as Cidr), group, place: null };
      singles.set(keyOf(range), range);
    }
  }
  return { single: [...singles.values()].sort(compareRanges), wide: flattenNested(wide) };
}

function keyOf({ family, first }: AddressRange): string {
  return `${family} ${first}`;
}

/**
 * Returns the group of the host that a probe speaks as.
 * @throws AgentError POLICY_INVALID when the policy does not have that host.
 */
export function groupOfProbe(policy: Policy, hostName: string): string {
  if (hostName === "*") return "*";
  const host = policy.hosts.find(({ name }) => name === hostName);
  if (host !== undefined) return host.group;
  const globalGroup = policy.groups.find(({ name }) => name === "*");
  throw refuseRule(
    globalGroup?.place ?? { file: "policy.json", line: 1, column: 1, pointer: "" },
    `the policy has no host ${JSON.stringify(hostName.slice(0, 63))}, as which a probe of this gateway speaks`,
    "add the host, or change health.probes in agent.json",
  );
}

/**
 * Returns the same assignment as disjoint ranges, sorted; where ranges nest, the innermost one holds. Networks only
 * nest or are apart, so one pass with a stack of the open ones is enough. nft refuses nested intervals, or lets the
 * order of insertion decide.
 */
export function flattenNested(ranges: readonly ClientRange[]): readonly ClientRange[] {
  const sorted = ranges.toSorted(compareRanges);
  return ([4, 6] as const).flatMap((family) =>
    flattenFamily(
      sorted.filter((range) => range.family === family),
      family,
    ),
  );
}

function flattenFamily(sorted: readonly ClientRange[], family: Family): readonly ClientRange[] {
  const flat: ClientRange[] = [];
  const open: ClientRange[] = [];
  let next = 0n;
  const emitUntil = (last: bigint): void => {
    const holder = open.at(-1);
    if (holder !== undefined && next <= last) flat.push({ ...holder, family, first: next, last });
    if (last >= next) next = last + 1n;
  };
  const closeBefore = (first: bigint): void => {
    for (let holder = open.at(-1); holder !== undefined && holder.last < first; holder = open.at(-1)) {
      emitUntil(holder.last);
      open.pop();
    }
  };
  for (const range of sorted) {
    closeBefore(range.first);
    emitUntil(range.first - 1n);
    next = range.first;
    open.push(range);
  }
  while (open.length > 0) {
    emitUntil(open.at(-1)?.last ?? next);
    open.pop();
  }
  return flat;
}
