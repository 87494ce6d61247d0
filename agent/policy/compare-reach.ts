import { type AddressRange, cidrRange } from "./cidr.ts";
import { cutsOf, type GroupReach, isWider, reachOf } from "./group-reach.ts";
import type { HostEntry, Policy } from "./policy.ts";
import { buildPrefixTable, type PrefixTable } from "./prefix-table.ts";

/** Some clients for whom the next policy is not the same as the one before. */
export interface ReachChange {
  /** Names of their host entries before and after; null: they are in none. */
  readonly before: string | null;
  readonly after: string | null;
  /** Whether they may reach or send anything that they could not before. */
  readonly widens: boolean;
  /** Their addresses, sorted. */
  readonly ranges: readonly AddressRange[];
}

const EVERYWHERE: readonly AddressRange[] = [
  { family: 4, first: 0n, last: 2n ** 32n - 1n },
  { family: 6, first: 0n, last: 2n ** 128n - 1n },
];

/**
 * Returns for which clients what they may reach changes, and whether it grows, by what the policies mean and not by how
 * they are written. Null as the policy before: nothing was allowed. Whatever is not known to be no wider is called wider.
 */
export function compareReach(before: Policy | null, after: Policy): readonly ReachChange[] {
  const [old, now] = [readClients(before), readClients(after)];
  const changes = new Map<string, ReachChange & { ranges: AddressRange[] }>();
  const same = new Map<string, boolean | null>();
  for (const range of pieces([...EVERYWHERE, ...old.ranges, ...now.ranges])) {
    const [was, is] = [old.at(range), now.at(range)];
    const key = `${was.host ?? ""}\n${is.host ?? ""}`;
    let widens = same.get(key);
    if (widens === undefined) {
      widens = compareClients(was, is);
      same.set(key, widens);
    }
    if (widens === null) continue;
    const known = changes.get(key);
    if (known !== undefined) known.ranges.push(range);
    else changes.set(key, { before: was.host, after: is.host, widens, ranges: [range] });
  }
  return [...changes.values()];
}

interface ClientReach {
  readonly host: string | null;
  /** Null: there was no policy. */
  readonly reach: GroupReach | null;
  readonly egressKbps: number | null;
}

/** Returns whether a client may do more than before; null when nothing that concerns it is different. */
function compareClients(was: ClientReach, is: ClientReach): boolean | null {
  if (is.reach === null) throw new RangeError("the next policy has no groups");
  if (was.reach === null) return true;
  const faster = was.egressKbps !== null && (is.egressKbps === null || is.egressKbps > was.egressKbps);
  // A budget is one host's together: who leaves it, or whom others join, has another one.
  const regrouped = was.host !== is.host && (was.egressKbps !== null || is.egressKbps !== null);
  if (isWider(was.reach, is.reach) || faster || regrouped) return true;
  const alike = was.host === is.host && was.reach.text === is.reach.text && was.egressKbps === is.egressKbps;
  return alike ? null : false;
}

interface Clients {
  readonly ranges: readonly AddressRange[];
  at(range: AddressRange): ClientReach;
}

function readClients(policy: Policy | null): Clients {
  if (policy === null) return { ranges: [], at: () => ({ host: null, reach: null, egressKbps: null }) };
  const reaches = new Map(policy.groups.map((group) => [group.name, reachOf(policy, group)]));
  const anyone: ClientReach = {
    host: null,
    reach: reaches.get("*") ?? null,
    egressKbps: policy.limits?.egressKbps ?? null,
  };
  const entries = policy.hosts.flatMap((host: HostEntry) => {
    const value = {
      host: host.name,
      reach: reaches.get(host.group) ?? null,
      egressKbps: host.limits?.egressKbps ?? null,
    };
    return host.sources.map((source) => ({ range: cidrRange(source), value }));
  });
  const table: PrefixTable<ClientReach> = buildPrefixTable(entries);
  return {
    ranges: entries.map(({ range }) => range),
    at: ({ family, first }) => table.findFirst({ family, value: first }) ?? anyone,
  };
}

/** Returns the address space cut wherever one of the ranges begins or ends. */
function pieces(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const cuts = cutsOf(ranges);
  return ([4, 6] as const).flatMap((family) =>
    cuts[family].slice(0, -1).map((first, index) => ({ family, first, last: (cuts[family][index + 1] ?? 0n) - 1n })),
  );
}
