import { cidrRange, type Family } from "../policy/cidr.ts";
import type { Cidr, HostEntry, Policy } from "../policy/policy.ts";
import { mergeRanges } from "../policy/ranges.ts";
import type { HostBinding } from "../settings/settings.ts";
import { denyCounters, dropRules } from "./nft-refuse.ts";
import { interfaceToken, macToken, placeToken, rangeToken } from "./tokens.ts";

/** Runs before a connection is made of a packet: what is dropped here neither resolves a name nor passes. */
const CHAIN = "bound";
const REFUSE_CHAIN = "refuse_bound";

/** The chain that `boundHostRules` fills; it stands even when no host is bound, so that an old binding goes with its release. */
export const boundHostsObject = `${denyCounters.clawgress.map((name) => `add counter inet clawgress ${name}\n`).join("")}add chain inet clawgress ${REFUSE_CHAIN}
add chain inet clawgress ${CHAIN} { type filter hook prerouting priority raw + 1; policy accept; }\n`;

/**
 * Returns the rules that drop a packet with the source of a bound host that comes in by another interface, or from another
 * machine, than agent.json says, and one of a bound machine with a source that is no bound host's of its own: by a free
 * address of the segment it would leave its host entry for what everybody may. Only a named counter counts them: it is no
 * part of what is read back. A binding of a host that the policy does not have binds nothing.
 */
export function boundHostRules(policy: Policy, bindings: { readonly [host: string]: HostBinding }): string {
  const bound = policy.hosts.flatMap((host) => {
    const binding = Object.hasOwn(bindings, host.name) ? bindings[host.name] : undefined;
    return binding === undefined ? [] : [{ host, binding }];
  });
  const rules = bound.flatMap(({ host, binding }) => families.flatMap((family) => hostRules(host, binding, family)));
  const machines = new Map<string, HostEntry[]>();
  for (const { host, binding } of bound) {
    if (binding.mac !== null) machines.set(binding.mac, [...(machines.get(binding.mac) ?? []), host]);
  }
  const confined = [...machines].flatMap(([mac, hosts]) =>
    families.flatMap((family) => machineRules(mac, hosts, family)),
  );
  return fillChain(REFUSE_CHAIN, dropRules("denied_bound", "spoofed")) + fillChain(CHAIN, [...rules, ...confined]);
}

const families = [4, 6] as const;
/** What a machine has before it has an address, and what a link asks of it: nothing of this is ever forwarded or resolved for. */
const LINK_SOURCES = ["0.0.0.0/32", "::/128", "fe80::/10"] as readonly string[] as readonly Cidr[];

function machineRules(mac: string, hosts: readonly HostEntry[], family: Family): readonly string[] {
  const [first] = hosts;
  if (first === undefined) return [];
  const field = family === 4 ? "ip saddr" : "ip6 saddr";
  const own = rangesOf([...LINK_SOURCES, ...hosts.flatMap(({ sources }) => sources)], family)
    .map(rangeToken)
    .join(", ");
  return [`ether saddr ${macToken(mac)} ${field} != { ${own} } goto ${REFUSE_CHAIN} # ${placeToken(first.place)}`];
}

function rangesOf(networks: readonly Cidr[], family: Family): ReturnType<typeof mergeRanges> {
  return mergeRanges(networks.map(cidrRange).filter((range) => range.family === family));
}

function fillChain(name: string, rules: readonly string[]): string {
  return `flush chain inet clawgress ${name}\n${rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`).join("")}`;
}

function hostRules(host: HostEntry, binding: HostBinding, family: Family): readonly string[] {
  const ranges = rangesOf(host.sources, family);
  if (ranges.length === 0) return [];
  const field = family === 4 ? "ip saddr" : "ip6 saddr";
  const from = `${field} { ${ranges.map(rangeToken).join(", ")} }`;
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
