import { cidrRange, formatAddress } from "../policy/cidr.ts";
import type { HostEntry } from "../policy/policy.ts";
import type { ActivePolicy } from "./active-policy.ts";

/** A group of the next policy that clients of another come to. */
export interface MoveTarget {
  readonly groupMark: number;
  readonly groupName: string;
}

/** Mark of a group of the policy in force → where clients of it are under the next one; groups that none leaves are missing. */
export type GroupMoves = ReadonlyMap<number, readonly MoveTarget[]>;

type Side = Pick<ActivePolicy, "clientOf" | "release">;

/**
 * Returns which groups clients leave for which others. A client changes its group only with a host entry: its own, or
 * one that came, went, or got other sources or another group. O(hosts), without a lookup for those that stay as they are.
 */
export function findGroupMoves(before: Side, after: Side): GroupMoves {
  const moves = new Map<number, Map<number, MoveTarget>>();
  for (const { sources } of changedHosts(before.release.policy.hosts, after.release.policy.hosts)) {
    for (const source of sources) {
      const { family, first } = cidrRange(source);
      const address = formatAddress({ family, value: first });
      const [from, to] = [groupOf(before, address), groupOf(after, address)];
      if (from === null || to === null || from.groupMark === to.groupMark) continue;
      const known = moves.get(from.groupMark) ?? new Map<number, MoveTarget>();
      moves.set(from.groupMark, known.set(to.groupMark, to));
    }
  }
  return new Map([...moves].map(([from, targets]) => [from, [...targets.values()]]));
}

function changedHosts(before: readonly HostEntry[], after: readonly HostEntry[]): readonly HostEntry[] {
  const [was, is] = [hostsByName(before), hostsByName(after)];
  return [
    ...after.filter((host) => !isSame(host, was.get(host.name))),
    ...before.filter((host) => !isSame(host, is.get(host.name))),
  ];
}

function hostsByName(hosts: readonly HostEntry[]): ReadonlyMap<string, HostEntry> {
  return new Map(hosts.map((host) => [host.name, host]));
}

function isSame({ group, sources }: HostEntry, other: HostEntry | undefined): boolean {
  if (other === undefined || other.group !== group || other.sources.length !== sources.length) return false;
  return sources.every((source, index) => source === other.sources[index]);
}

function groupOf({ clientOf, release }: Side, address: string): MoveTarget | null {
  const groupName = clientOf(address).group.name;
  const groupMark = release.groups[groupName];
  return groupMark === undefined ? null : { groupMark, groupName };
}
