import type { Family } from "../policy/cidr.ts";
import type { Cidr, Group, Place, Policy, PortRange } from "../policy/policy.ts";
import { sortPorts } from "../policy/ports.ts";
import { comparePlaces } from "./compare-places.ts";
import { groupMarks, networkGrants, networkGrantText } from "./grants.ts";
import { rangeByClass } from "./port-classes.ts";
import type { PortClass } from "./release.ts";

/** One network of a group: the classes of ports that its members may reach there, each by its grant. */
export interface NetworkEntry {
  readonly family: Family;
  readonly group: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly grants: readonly { readonly portClass: number; readonly grant: number }[];
  readonly place: Place;
}

/**
 * Returns every network of a policy, in the order of its groups and networks. Nested networks need no flattening, for
 * the kernel asks for the longest prefix first; a class of ports that it lacks is then asked of the next one.
 */
export function* networkEntries(policy: Policy, classes: readonly PortClass[]): Generator<NetworkEntry> {
  if (policy.mode === "deny-all") return;
  const groups = groupMarks(policy);
  const grants = networkGrants(policy);
  const chosenRanges = new Map<string, ReadonlyMap<PortClass, PortRange>>();
  for (const group of policy.groups) {
    const groupMark = lookUp(groups, group.name);
    for (const { network, ports, place } of joinNetworks(group)) {
      const key = JSON.stringify(ports);
      const chosen = chosenRanges.get(key) ?? rangeByClass(classes, ports);
      chosenRanges.set(key, chosen);
      yield {
        family: network.includes(":") ? 6 : 4,
        group: groupMark,
        address: network.slice(0, network.indexOf("/")),
        prefixLength: prefixLengthOf(network),
        grants: [...chosen].map(([portClass, range]) => ({
          portClass: portClass.mark,
          grant: lookUp(grants, networkGrantText(network, range)),
        })),
        place,
      };
    }
  }
}

/** Returns the prefix lengths of a family that occur among the networks of a policy, the longest first. */
export function prefixLengths(policy: Policy, family: Family): readonly number[] {
  if (policy.mode === "deny-all") return [];
  const lengths = new Set<number>();
  for (const group of policy.groups) {
    for (const { network } of group.networks) {
      if (network.includes(":") === (family === 6)) lengths.add(prefixLengthOf(network));
    }
  }
  return [...lengths].sort((a, b) => b - a);
}

interface JoinedNetwork {
  readonly network: Cidr;
  readonly ports: readonly PortRange[];
  readonly place: Place;
}

/** The same network in several rules is one network with all their ports, traced to the rule that comes first. */
function joinNetworks(group: Group): readonly JoinedNetwork[] {
  const joined = new Map<Cidr, JoinedNetwork>();
  for (const rule of group.networks) {
    const known = joined.get(rule.network);
    if (known === undefined) joined.set(rule.network, rule);
    else {
      const place = comparePlaces(rule.place, known.place) < 0 ? rule.place : known.place;
      joined.set(rule.network, { network: rule.network, ports: sortPorts([...known.ports, ...rule.ports]), place });
    }
  }
  return [...joined.values()];
}

function prefixLengthOf(network: Cidr): number {
  return Number(network.slice(network.indexOf("/") + 1));
}

function lookUp(marks: ReadonlyMap<string, number>, key: string): number {
  const mark = marks.get(key);
  if (mark === undefined) throw new RangeError(`nothing was assigned to ${JSON.stringify(key)}`);
  return mark;
}
