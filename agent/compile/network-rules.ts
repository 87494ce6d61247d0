import { cidrRange, type Family } from "../policy/cidr.ts";
import type { Cidr, Group, NetworkRule, Place, Policy, PortRange } from "../policy/policy.ts";
import { sortPorts } from "../policy/ports.ts";
import { buildPrefixTable } from "../policy/prefix-table.ts";
import { comparePlaces } from "./compare-places.ts";
import { groupMarks, networkGrants, networkGrantText } from "./grants.ts";
import { compareNarrowness, coveredClasses, rangeByClass } from "./port-classes.ts";
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
    const choose = group.networks.some(({ expiresS }) => expiresS !== undefined)
      ? chooseLasting(group, classes)
      : ({ network, ports }: JoinedNetwork): Chosen => {
          const key = JSON.stringify(ports);
          const ranges = chosenRanges.get(key) ?? rangeByClass(classes, ports);
          chosenRanges.set(key, ranges);
          return [...ranges].map(([portClass, range]) => ({ portClass, network, range }));
        };
    for (const joined of joinNetworks(group)) {
      const { network, place } = joined;
      yield {
        family: network.includes(":") ? 6 : 4,
        group: groupMark,
        address: network.slice(0, network.indexOf("/")),
        prefixLength: prefixLengthOf(network),
        grants: choose(joined).map(({ portClass, network: granted, range }) => ({
          portClass: portClass.mark,
          grant: lookUp(grants, networkGrantText(granted, range)),
        })),
        place,
      };
    }
  }
}

/** Classes of ports, each with the network and range as written whose grant stands for it. */
type Chosen = readonly { readonly portClass: PortClass; readonly network: Cidr; readonly range: PortRange }[];

/**
 * Where something expires, a class of ports is granted by what opens it for longest, be it a wider network: the kernel
 * finds one grant only, and a flow goes on while any rule allows it. Of what lasts equally long, the narrowest counts.
 */
function chooseLasting(group: Group, classes: readonly PortClass[]): (joined: JoinedNetwork) => Chosen {
  const table = buildPrefixTable(group.networks.map((rule) => ({ range: cidrRange(rule.network), value: rule })));
  return ({ network, ports }) => {
    const { family, first } = cidrRange(network);
    const length = prefixLengthOf(network);
    const around = table.find({ family, value: first }).filter((rule) => prefixLengthOf(rule.network) <= length);
    const candidates = around.flatMap((rule) => rule.ports.map((range) => ({ rule, range })));
    const ordered = candidates.toSorted((a, b) => compareLasting(a, b) || compareNarrowness(a.range, b.range));
    const own = new Set(ports.flatMap((range) => coveredClasses(classes, range)));
    const chosen = new Map<PortClass, { readonly network: Cidr; readonly range: PortRange }>();
    for (const { rule, range } of ordered) {
      for (const portClass of coveredClasses(classes, range)) {
        if (own.has(portClass) && !chosen.has(portClass)) chosen.set(portClass, { network: rule.network, range });
      }
    }
    return [...chosen].map(([portClass, { network: granted, range }]) => ({ portClass, network: granted, range }));
  };
}

function compareLasting(a: { readonly rule: NetworkRule }, b: { readonly rule: NetworkRule }): number {
  const [one, other] = [a.rule, b.rule].map(({ expiresS }) => expiresS ?? Number.MAX_SAFE_INTEGER);
  const byTime = (other ?? 0) - (one ?? 0);
  return byTime === 0 ? prefixLengthOf(b.rule.network) - prefixLengthOf(a.rule.network) : byTime;
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
