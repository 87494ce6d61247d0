import { compareTexts } from "../policy/compare-texts.ts";
import type { Cidr, Policy, PortRange } from "../policy/policy.ts";
import { portText } from "../policy/ports.ts";
import { assignMark, GROUP_MAX, GROUP_MIN, NETWORK_GRANT_MAX, NETWORK_GRANT_MIN } from "./marks.ts";

/** Returns the mark of every group by its name; a group keeps its mark whatever other groups come or go. */
export function groupMarks(policy: Policy): ReadonlyMap<string, number> {
  const names = policy.groups.map((group) => group.name).sort(compareTexts);
  return assignAll(names, (name) => `group ${name}`, GROUP_MIN, GROUP_MAX);
}

/**
 * Returns the text whose hash is the grant of a name on a range of ports *as written*: `name api.x.com 443/tcp`. Under
 * a wildcard it is the name that was asked, so that denying that name later ends exactly its flows.
 */
export function nameGrantText(name: string, range: PortRange): string {
  return `name ${name} ${portText(range)}`;
}

/** Returns the text whose hash is the grant of a network on a range of ports as written: `network 192.0.2.0/24 443/tcp`. */
export function networkGrantText(network: Cidr, range: PortRange): string {
  return `network ${network} ${portText(range)}`;
}

/** Returns the grant of every network and range that any group writes, by its `networkGrantText`; groups share them. */
export function networkGrants(policy: Policy): ReadonlyMap<string, number> {
  const texts = new Set<string>();
  for (const group of policy.groups) {
    for (const { network, ports } of group.networks) {
      for (const range of ports) texts.add(networkGrantText(network, range));
    }
  }
  return assignAll([...texts].sort(compareTexts), (text) => text, NETWORK_GRANT_MIN, NETWORK_GRANT_MAX);
}

function assignAll(
  sortedKeys: readonly string[],
  textOf: (key: string) => string,
  min: number,
  max: number,
): ReadonlyMap<string, number> {
  const marks = new Map<string, number>();
  const taken = new Set<number>();
  for (const key of sortedKeys) {
    const mark = assignMark(textOf(key), min, max, (candidate) => taken.has(candidate));
    taken.add(mark);
    marks.set(key, mark);
  }
  return marks;
}
