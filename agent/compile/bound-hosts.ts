import { type AddressRange, cidrRange, type Family } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Cidr, HostEntry, Policy } from "../policy/policy.ts";
import { mergeRanges } from "../policy/ranges.ts";
import type { HostBinding } from "../settings/settings.ts";
import { flattenNested } from "./client-groups.ts";
import { denyCounters, dropRules } from "./nft-refuse.ts";
import { interfaceToken, macToken, placeToken, rangeToken } from "./tokens.ts";

/** Runs before a connection is made of a packet: what is dropped here neither resolves a name nor passes. */
const CHAIN = "bound";
const REFUSE_CHAIN = "refuse_bound";

/** The chain that `boundHostRules` fills; it stands even when no host is bound, so that an old binding goes with its release. */
export const boundHostsObject = `${denyCounters.clawgress.map((name) => `add counter inet clawgress ${name}\n`).join("")}add chain inet clawgress ${REFUSE_CHAIN}
add chain inet clawgress ${CHAIN} { type filter hook prerouting priority raw + 1; policy accept; }\n`;

const families = [4, 6] as const;
/** What a machine has before it has an address, and what a link asks of it: nothing of this is ever forwarded or resolved for. */
const LINK_RANGES = (["0.0.0.0/32", "::/128", "fe80::/10"] as readonly string[] as readonly Cidr[]).map(cidrRange);

interface Bound {
  readonly host: HostEntry;
  readonly binding: HostBinding;
  /** Its addresses, without those that another host's longer prefix takes out of them. */
  readonly ranges: readonly AddressRange[];
}

/**
 * Returns the rules that drop a packet with the source of a bound host that comes in by another interface, or from another
 * machine, than agent.json says, and one of a bound machine with a source that is no bound host's of its own: by a free
 * address of the segment it would leave its host entry for what everybody may. Only a named counter counts them: it is no
 * part of what is read back. A binding of a host that the policy does not have binds nothing.
 */
export function boundHostRules(policy: Policy, bindings: { readonly [host: string]: HostBinding }): string {
  const hosts = boundHosts(policy, bindings);
  const rules = hosts.flatMap((bound) => families.flatMap((family) => hostRules(bound, family)));
  const chain = [...rules, ...machineRules(hosts)];
  return fillChain(REFUSE_CHAIN, dropRules("denied_bound", "spoofed")) + fillChain(CHAIN, chain);
}

function boundHosts(policy: Policy, bindings: { readonly [host: string]: HostBinding }): readonly Bound[] {
  const named = policy.hosts.flatMap((host) => {
    const binding = Object.hasOwn(bindings, host.name) ? bindings[host.name] : undefined;
    return binding === undefined ? [] : [{ host, binding }];
  });
  if (named.length === 0) return [];
  const all = policy.hosts.flatMap(({ name, place, sources }) =>
    sources.map((source) => ({ ...cidrRange(source), group: name, place })),
  );
  const rangesOf = new Map(named.map(({ host }) => [host.name, [] as AddressRange[]]));
  for (const range of flattenNested(all)) rangesOf.get(range.group)?.push(range);
  return named.map((bound) => ({ ...bound, ranges: rangesOf.get(bound.host.name) ?? [] }));
}

function fillChain(name: string, rules: readonly string[]): string {
  return `flush chain inet clawgress ${name}\n${rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`).join("")}`;
}

function hostRules({ host, binding, ranges: both }: Bound, family: Family): readonly string[] {
  const ranges = ofFamily(both, family);
  if (ranges.length === 0) return [];
  const from = `${sourceField(family)} { ${ranges.map(rangeToken).join(", ")} }`;
  const trace = ` # ${placeToken(host.place)}`;
  const rules: string[] = [];
  if (binding.interface !== null)
    rules.push(`${from} iifname != ${interfaceToken(binding.interface)} goto ${REFUSE_CHAIN}${trace}`);
  if (binding.mac !== null) {
    // Without the first rule a packet of a link that has no such addresses would not be compared at all.
    rules.push(`${from} meta iiftype != ether goto ${REFUSE_CHAIN}${trace}`);
    rules.push(`${from} ether saddr != ${macToken(binding.mac)} goto ${REFUSE_CHAIN}${trace}`);
  }
  return rules;
}

/** Two lookups a packet, however many machines are bound; several hosts of one machine have their addresses together. */
function machineRules(hosts: readonly Bound[]): readonly string[] {
  const machines = new Map<string, readonly AddressRange[]>();
  for (const { binding, ranges } of hosts) {
    if (binding.mac === null) continue;
    const mac = macToken(binding.mac);
    machines.set(mac, [...(machines.get(mac) ?? LINK_RANGES), ...ranges]);
  }
  if (machines.size === 0) return [];
  const sorted = [...machines].sort(([a], [b]) => compareTexts(a, b));
  const bound = `ether saddr { ${sorted.map(([mac]) => mac).join(", ")} }`;
  return families.map((family) => {
    const own = sorted.flatMap(([mac, ranges]) =>
      ofFamily(ranges, family).map((range) => `${mac} . ${rangeToken(range)}`),
    );
    return `${bound} ether saddr . ${sourceField(family)} != { ${own.join(", ")} } goto ${REFUSE_CHAIN}`;
  });
}

function sourceField(family: Family): string {
  return family === 4 ? "ip saddr" : "ip6 saddr";
}

function ofFamily(ranges: readonly AddressRange[], family: Family): readonly AddressRange[] {
  return mergeRanges(ranges.filter((range) => range.family === family));
}
