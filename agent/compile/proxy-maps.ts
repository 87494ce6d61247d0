import { cidrRange, compareRanges, formatAddress } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { NameRule, Policy, PortRange } from "../policy/policy.ts";
import { includesPort } from "../policy/ports.ts";
import { HTTP_PORT, TLS_PORT } from "../policy/proxied.ts";
import type { ProbeAddress } from "../settings/settings.ts";
import { groupOfProbe } from "./client-groups.ts";
import { addressToken, groupToken, nameToken, numberToken, refuseRule } from "./tokens.ts";

/** The proxy looks a name's parents up at each of these lengths, so that one rule covers a wildcard at any depth. */
export const SUFFIX_LABELS: readonly number[] = [2, 3, 4, 5, 6, 7, 8, 9, 10];

/** What the proxy goes by, as files of `key value` lines; it takes them over while it runs. */
export const proxyMaps = {
  groups4: "groups4.map",
  groups6: "groups6.map",
  tls: "tls.map",
  http: "http.map",
} as const;

export type ProxyMap = (typeof proxyMaps)[keyof typeof proxyMaps];

/**
 * Returns the maps of a policy: client networks → group, and for each group in SNI mode the names it may reach by TLS
 * and by plain HTTP (`name@group`; `name*@group` for all below it). Clients in no network follow the group `*`.
 * @throws AgentError POLICY_INVALID for a wildcard with more labels than the proxy looks up.
 */
export function renderProxyMaps(policy: Policy, probes: readonly ProbeAddress[]): ReadonlyMap<ProxyMap, string> {
  const clients = clientLines(policy, probes);
  const names = (port: PortRange): string => lines(policy.groups.flatMap((group) => nameLines(group, port)));
  return new Map([
    [
      proxyMaps.groups4,
      clients
        .filter(({ family }) => family === 4)
        .map(({ line }) => line)
        .join(""),
    ],
    [
      proxyMaps.groups6,
      clients
        .filter(({ family }) => family === 6)
        .map(({ line }) => line)
        .join(""),
    ],
    [proxyMaps.tls, names(TLS_PORT)],
    [proxyMaps.http, names(HTTP_PORT)],
  ]);
}

function clientLines(policy: Policy, probes: readonly ProbeAddress[]): readonly { family: 4 | 6; line: string }[] {
  const networks = new Map<string, string>();
  for (const { sources, group } of policy.hosts) for (const source of sources) networks.set(source, group);
  for (const { host, address4, address6 } of probes) {
    const group = groupOfProbe(policy, host);
    networks.set(`${address4}/32`, group);
    networks.set(`${address6}/128`, group);
  }
  const ranges = [...networks].map(([network, group]) => ({ network, group, range: cidrRange(network as never) }));
  return ranges
    .sort((a, b) => compareRanges(a.range, b.range))
    .map(({ network, group, range: { family, first } }) => {
      const length = numberToken(Number(network.slice(network.indexOf("/") + 1)), 0, family === 4 ? 32 : 128);
      const address = addressToken(formatAddress({ family, value: first }));
      return { family, line: `${address}/${length} ${groupToken(group)}\n` };
    });
}

function nameLines(group: Policy["groups"][number], port: PortRange): readonly string[] {
  if (!group.isProxied) return [];
  const rules = group.names.filter(({ ports }) => includesPort(ports, port.protocol, port.first));
  return rules.map((rule) => `${nameKey(rule)}@${groupToken(group.name)}`);
}

function nameKey({ pattern, place }: NameRule): string {
  const name = nameToken(pattern.name);
  if (pattern.kind === "exact") return name;
  const labels = name.split(".").length;
  if (SUFFIX_LABELS.includes(labels)) return `${name}*`;
  const longest = SUFFIX_LABELS.at(-1);
  throw refuseRule(
    place,
    `the wildcard is over a name of ${labels} labels; in SNI mode it may have at most ${longest}`,
    "list the names below it, or put the wildcard higher",
  );
}

function lines(keys: readonly string[]): string {
  return [...new Set(keys)]
    .sort(compareTexts)
    .map((key) => `${key} 1\n`)
    .join("");
}
