import { type AddressRange, cidrRange, type Family } from "../policy/cidr.ts";
import type { Denials, Policy } from "../policy/policy.ts";
import { wrapRange } from "./closed-networks.ts";
import { type NetworkKey, nestNetworks } from "./network-keys.ts";
import { nameKey } from "./proxy-names.ts";
import { groupToken } from "./tokens.ts";

/** What the proxy denies, whatever its other maps allow. */
export interface ProxyDenials {
  /** Denied networks, `network network`; the longest that holds an address counts. */
  readonly regions: { readonly [family in Family]: readonly string[] };
  /** Keys: a name (`name`, `name*` for all below it) or a network, then `!` for everyone or `@group`. */
  readonly keys: readonly string[];
}

/**
 * Returns what a policy denies to clients in SNI mode. A denied IPv4 network is denied as well in the IPv6 forms that a
 * translator beyond the gateway would turn into it.
 * @throws AgentError POLICY_INVALID for a wildcard that is deeper than the proxy looks.
 */
export function proxyDenials(policy: Policy): ProxyDenials {
  const scopes: readonly (readonly [scope: string, denials: Denials])[] = [
    ...(policy.deny === undefined ? [] : [["!", policy.deny] as const]),
    ...policy.groups.flatMap(({ name, deny, isProxied }) =>
      deny === undefined || !isProxied ? [] : [[`@${groupToken(name)}`, deny] as const],
    ),
  ];
  const networks = nestNetworks(scopes.flatMap(([scope, denials]) => networkKeys(scope, denials)));
  const regionsOf = (family: Family): readonly string[] =>
    networks.flatMap(({ network }) => (network.includes(":") === (family === 6) ? [`${network} ${network}`] : []));
  return {
    regions: { 4: regionsOf(4), 6: regionsOf(6) },
    keys: [
      ...scopes.flatMap(([scope, { names }]) => names.map((denial) => `${nameKey(denial)}${scope}`)),
      ...networks.flatMap(({ network, keys }) => keys.map((scope) => `${network}${scope}`)),
    ],
  };
}

function networkKeys(scope: string, { networks }: Denials): readonly NetworkKey[] {
  return networks.flatMap(({ network, place }) => {
    const range = cidrRange(network);
    return formsOf(range).map((form) => ({ range: form, key: scope, place }));
  });
}

function formsOf(range: AddressRange): readonly AddressRange[] {
  return range.family === 4 ? [range, ...wrapRange(range)] : [range];
}
