import { cidrRange, type Family } from "../policy/cidr.ts";
import type { Cidr, Place, Policy } from "../policy/policy.ts";
import { type NetworkKey, nestNetworks } from "./network-keys.ts";
import { nameKey } from "./proxy-names.ts";
import { groupToken, nameToken } from "./tokens.ts";

/** Which names lead to which private networks through the proxy. */
export interface ProxyAnswers {
  /** Private networks that any name may lead to, `network network`; the longest that holds an address counts. */
  readonly networks: { readonly [family in Family]: readonly string[] };
  /** Zones of `dns.forward`, `zone zone`; the longest that a name lies in counts. */
  readonly zones: readonly string[];
  /** Keys: `name@group|network`, `name*@group|network` for all below it, `zone=|network` for a zone's names. */
  readonly keys: readonly string[];
}

/**
 * Returns the `answers` of what clients in SNI mode may reach, and of the zones that resolvers of their own answer.
 * @throws AgentError POLICY_INVALID for a wildcard that is deeper than the proxy looks.
 */
export function proxyAnswers(policy: Policy): ProxyAnswers {
  const entries = [
    ...policy.groups.filter(({ isProxied }) => isProxied).flatMap(ofGroup),
    ...(policy.forward ?? []).flatMap(({ zone, answers, place }) => keysOf(`${nameToken(zone)}=`, answers, place)),
  ];
  const nested = nestNetworks(entries);
  const networksOf = (family: Family): readonly string[] =>
    nested.flatMap(({ network }) => (network.includes(":") === (family === 6) ? [`${network} ${network}`] : []));
  return {
    networks: { 4: networksOf(4), 6: networksOf(6) },
    zones: (policy.forward ?? []).map(({ zone }) => `${nameToken(zone)} ${nameToken(zone)}`),
    keys: nested.flatMap(({ network, keys }) => keys.map((key) => `${key}|${network}`)),
  };
}

/** Returns the private networks that something leads to through the proxy. */
export function answeredNetworks(policy: Policy): readonly Cidr[] {
  const ofNames = policy.groups.filter(({ isProxied }) => isProxied).flatMap(({ names }) => names);
  const all = [...ofNames, ...(policy.forward ?? [])].flatMap(({ answers = [] }) => answers);
  return [...new Set(all)];
}

function ofGroup({ name, names }: Policy["groups"][number]): readonly NetworkKey[] {
  return names.flatMap((rule) =>
    rule.answers === undefined ? [] : keysOf(`${nameKey(rule)}@${groupToken(name)}`, rule.answers, rule.place),
  );
}

function keysOf(key: string, answers: readonly Cidr[] | undefined, place: Place): readonly NetworkKey[] {
  return (answers ?? []).map((network) => ({ range: cidrRange(network), key, place }));
}
