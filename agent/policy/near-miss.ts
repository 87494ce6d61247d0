import { type Address, cidrRange } from "./cidr.ts";
import { type NameTable, suffixesOf } from "./name-table.ts";
import type { Group, Policy, PortRange } from "./policy.ts";
import { portText } from "./ports.ts";
import { buildPrefixTable, type PrefixTable } from "./prefix-table.ts";

/** Which group first allows a name or network: answers 'who else may?' without going through all groups. */
export interface OtherGroups {
  readonly exact: ReadonlyMap<string, string>;
  readonly subdomains: ReadonlyMap<string, string>;
  readonly networks: PrefixTable<{ readonly group: string; readonly network: string }>;
}

/** Returns the first group, in the policy's order, of every pattern and network. */
export function indexGroups(policy: Policy): OtherGroups {
  const exact = new Map<string, string>();
  const subdomains = new Map<string, string>();
  for (const group of policy.groups) {
    for (const { pattern } of group.names) {
      const map = pattern.kind === "exact" ? exact : subdomains;
      if (!map.has(pattern.name)) map.set(pattern.name, group.name);
    }
  }
  const networks = policy.groups.flatMap((group) =>
    group.networks.map(({ network }) => ({ range: cidrRange(network), value: { group: group.name, network } })),
  );
  return { exact, subdomains, networks: buildPrefixTable(networks) };
}

/** Returns the nearest rule to a denied name for people, or null. The group's own rules come before those of others. */
export function explainName(group: Group, table: NameTable, others: OtherGroups, name: string): string | null {
  if (table.subdomains.has(name)) return `*.${name} is listed: the subdomains of ${name}, not ${name} itself`;
  for (const suffix of suffixesOf(name)) {
    if (table.exact.has(suffix)) return `${suffix} is listed, but not its subdomains`;
  }
  const other = others.exact.get(name);
  if (other !== undefined && other !== group.name) return `${name} is allowed for ${whoIs(other)}`;
  for (const suffix of suffixesOf(name)) {
    const wider = others.subdomains.get(suffix);
    if (wider !== undefined && wider !== group.name) return `*.${suffix} is allowed for ${whoIs(wider)}`;
  }
  return null;
}

/** Returns the nearest rule to a denied address for people, or null. */
export function explainAddress(group: Group, others: OtherGroups, address: Address): string | null {
  const other = others.networks.find(address).find((found) => found.group !== group.name);
  return other === undefined ? null : `${other.network} is allowed for ${whoIs(other.group)}`;
}

/** Returns the ports on which a name or network is allowed, for people. */
export function explainPorts(what: string, ports: readonly PortRange[]): string {
  return `${what} is allowed on ${ports.map(portText).join(", ")}`;
}

function whoIs(group: string): string {
  return group === "*" ? "clients without an allow list of their own" : `host ${group}`;
}
