import { cidrRange, type Family } from "../policy/cidr.ts";
import type { HostEntry, Policy } from "../policy/policy.ts";
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
 * machine, than agent.json says. Only a named counter counts them: it is no part of what is read back. A binding of a host
 * that the policy does not have binds nothing.
 */
export function boundHostRules(policy: Policy, bindings: { readonly [host: string]: HostBinding }): string {
  const rules = policy.hosts.flatMap((host) => {
    const binding = Object.hasOwn(bindings, host.name) ? bindings[host.name] : undefined;
    return binding === undefined ? [] : ([4, 6] as const).flatMap((family) => hostRules(host, binding, family));
  });
  return fillChain(REFUSE_CHAIN, dropRules("denied_bound", "spoofed")) + fillChain(CHAIN, rules);
}

function fillChain(name: string, rules: readonly string[]): string {
  return `flush chain inet clawgress ${name}\n${rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`).join("")}`;
}

function hostRules(host: HostEntry, binding: HostBinding, family: Family): readonly string[] {
  const ranges = mergeRanges(host.sources.map(cidrRange).filter((range) => range.family === family));
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
