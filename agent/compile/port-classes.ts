import { AgentError } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Group, Policy, PortRange } from "../policy/policy.ts";
import { portText, splitAtoms } from "../policy/ports.ts";
import { assignMark, CLASS_MAX, CLASS_MIN } from "./marks.ts";
import type { PortClass } from "./release.ts";

/** Ranges as written, all different. One entry can need a map element for every class, so this bounds the kernel's work. */
const MAX_RANGES = 512;

/**
 * Returns the port classes of a policy: the atoms of every range that any rule writes, sorted by protocol and port.
 * A class keeps its mark as long as its ports stay one atom, whatever else the policy gains or loses.
 * @throws AgentError POLICY_INVALID when the policy writes more than 512 different ranges.
 */
export function portClasses(policy: Policy): readonly PortClass[] {
  const ranges = new Map<string, PortRange>();
  // Entries of one list share their ports.
  const seen = new Set<readonly PortRange[]>();
  for (const group of policy.groups) {
    for (const ports of portsOf(group)) {
      if (seen.has(ports)) continue;
      seen.add(ports);
      for (const range of ports) ranges.set(portText(range), range);
      if (ranges.size > MAX_RANGES) {
        throw new AgentError("POLICY_INVALID", `the policy writes more than ${MAX_RANGES} different ranges of ports`, {
          remedy: "write neighbouring ports as one range, and the same ranges where the same thing is meant",
        });
      }
    }
  }
  const taken = new Set<number>();
  return splitAtoms([...ranges.values()]).map((atom) => {
    const mark = assignMark(`class ${portText(atom)}`, CLASS_MIN, CLASS_MAX, (candidate) => taken.has(candidate));
    taken.add(mark);
    return { protocol: atom.protocol, first: atom.first, last: atom.last, mark };
  });
}

/** Returns the ports of each rule; of neighbours that share them, once. */
function portsOf({ names, networks }: Group): readonly (readonly PortRange[])[] {
  const found: (readonly PortRange[])[] = [];
  for (const rules of [names, networks]) {
    let last: readonly PortRange[] | null = null;
    // By number: an iterator is 1.6 MB of garbage for 100,000 rules, in a loop that runs too seldom to be optimised.
    for (let at = 0; at < rules.length; at++) {
      const { ports } = rules[at] as { readonly ports: readonly PortRange[] };
      if (ports !== last) found.push(ports);
      last = ports;
    }
  }
  return found;
}

/** Returns the classes that a range covers; every range of the policy is a union of whole classes. */
export function coveredClasses(classes: readonly PortClass[], range: PortRange): readonly PortClass[] {
  return classes.filter(
    ({ protocol, first, last }) => protocol === range.protocol && first >= range.first && last <= range.last,
  );
}

/** Orders ranges by how much they say about one port: the narrowest first, then by their text. */
export function compareNarrowness(a: PortRange, b: PortRange): number {
  return a.last - a.first - (b.last - b.first) || compareTexts(portText(a), portText(b));
}

/** Returns, for each class that some of the ranges cover, the range that speaks for it: the narrowest, then by text. */
export function rangeByClass(
  classes: readonly PortClass[],
  ranges: readonly PortRange[],
): ReadonlyMap<PortClass, PortRange> {
  const chosen = new Map<PortClass, PortRange>();
  for (const range of ranges.toSorted(compareNarrowness)) {
    for (const portClass of coveredClasses(classes, range)) {
      if (!chosen.has(portClass)) chosen.set(portClass, range);
    }
  }
  return chosen;
}
