import { cidrRange, compareRanges, type Family, formatAddress } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Policy, PortRange } from "../policy/policy.ts";
import { includesPort } from "../policy/ports.ts";
import { HTTP_PORT, TLS_PORT } from "../policy/proxied.ts";
import type { Instant } from "../policy/schedules.ts";
import type { ProbeAddress } from "../settings/settings.ts";
import { markCaps, relayAddress } from "./byte-caps.ts";
import { groupOfProbe } from "./client-groups.ts";
import { proxyAnswers } from "./proxy-answers.ts";
import { proxyDenials } from "./proxy-denials.ts";
import { proxyHours, withoutExpired } from "./proxy-hours.ts";
import { nameKey } from "./proxy-names.ts";
import { addressToken, groupToken, numberToken } from "./tokens.ts";

/** What the proxy goes by, as files of `key value` lines; it takes them over while it runs. */
export const proxyMaps = {
  groups4: "groups4.map",
  groups6: "groups6.map",
  regions4: "regions4.map",
  regions6: "regions6.map",
  deny: "deny.map",
  zones: "zones.map",
  answers: "answers.map",
  inner4: "inner4.map",
  inner6: "inner6.map",
  caps: "caps.map",
  tls: "tls.map",
  http: "http.map",
  hours: "hours.map",
} as const;

export type ProxyMap = (typeof proxyMaps)[keyof typeof proxyMaps];

/** Commit and serial in force, for answers to people, and the release: no part of a release, whose bytes no commit changes. */
export const ABOUT_MAP = "about.map";

/** Caps that are used up, and when their period ends, in seconds since 1970: the agent tells it while the proxy runs. */
export const SPENT_MAP = "spent.map";

/** The gateway's own addresses, each with a 1: they come and go without a release. */
export const OWN_MAP = "own.map";

/**
 * Returns the maps of a policy: client networks → group, and for each group in SNI mode the names it may reach by TLS
 * and by plain HTTP (`name@group`; `name*@group` for all below it), what is denied all the same (@see proxyDenials), and
 * the private networks that names may lead to (@see proxyAnswers), the loopback address of each byte cap (`@group` where
 * any name of a group has one), and for how long names are open (@see proxyHours). Clients in no network follow the group `*`.
 * @throws AgentError POLICY_INVALID for a wildcard with more labels than the proxy looks up.
 */
export function renderProxyMaps(policy: Policy, probes: readonly ProbeAddress[]): ReadonlyMap<ProxyMap, string> {
  const clients = clientLines(policy, probes);
  const clientsOf = (wanted: Family): readonly string[] =>
    clients.filter(({ family }) => family === wanted).map(({ line }) => line);
  const names = (port: PortRange): string => keyText(policy.groups.flatMap((group) => nameLines(group, port)));
  return new Map([
    [proxyMaps.groups4, lineText(clientsOf(4))],
    [proxyMaps.groups6, lineText(clientsOf(6))],
    [proxyMaps.caps, lineText(capLines(policy))],
    [proxyMaps.tls, names(TLS_PORT)],
    [proxyMaps.http, names(HTTP_PORT)],
    ...timedMaps(policy, null),
  ]);
}

/** Returns those maps that depend on the time, as they are at an instant; null: as they are in a release. */
export function timedMaps(policy: Policy, at: Instant): ReadonlyMap<ProxyMap, string> {
  const lasting = withoutExpired(policy, at);
  const denials = proxyDenials(lasting);
  const answers = proxyAnswers(lasting);
  return new Map([
    [proxyMaps.regions4, lineText(denials.regions[4])],
    [proxyMaps.regions6, lineText(denials.regions[6])],
    [proxyMaps.deny, keyText(denials.keys)],
    [proxyMaps.zones, lineText(answers.zones)],
    [proxyMaps.answers, keyText(answers.keys)],
    [proxyMaps.inner4, lineText(answers.networks[4])],
    [proxyMaps.inner6, lineText(answers.networks[6])],
    [proxyMaps.hours, lineText([...new Set(proxyHours(policy, at))].sort(compareTexts))],
  ]);
}

function clientLines(
  policy: Policy,
  probes: readonly ProbeAddress[],
): readonly { readonly family: Family; readonly line: string }[] {
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
      return { family, line: `${address}/${length} ${groupToken(group)}` };
    });
}

function nameLines(group: Policy["groups"][number], port: PortRange): readonly string[] {
  if (!group.isProxied) return [];
  const rules = group.names.filter(({ ports }) => includesPort(ports, port.protocol, port.first));
  return rules.map((rule) => `${nameKey(rule)}@${groupToken(group.name)}`);
}

function capLines(policy: Policy): readonly string[] {
  const groups = new Set(policy.groups.filter(({ isProxied }) => isProxied).map(({ name }) => name));
  const caps = markCaps(policy).filter(({ group }) => groups.has(group));
  const entries = caps.map((cap) => `${nameKey(cap)}@${groupToken(cap.group)} ${addressToken(relayAddress(cap.mark))}`);
  const marked = caps.map(({ group }) => `@${groupToken(group)} 1`);
  return [...new Set([...entries, ...marked])].sort(compareTexts);
}

function keyText(keys: readonly string[]): string {
  return lineText([...new Set(keys)].sort(compareTexts).map((key) => `${key} 1`));
}

function lineText(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
