import { type AddressRange, cidrRange, type Family } from "../policy/cidr.ts";
import { mergeRanges } from "../policy/ranges.ts";
import type { Settings } from "../settings/settings.ts";
import { closedRanges } from "./closed-networks.ts";
import { ANSWER, VERDICT } from "./marks.ts";
import { markToken, numberToken, portToken, rangeToken } from "./tokens.ts";

/** What the base tables depend on: nothing of the policy. */
export type BaseSettings = Pick<Settings, "interfaces" | "nat" | "lifeline" | "dns" | "gate" | "proxy">;

/** The numeric users that named, the gate and the proxy run as; each is confined, so none may be root or another one. */
export interface BaseUsers {
  readonly dnsUid: number;
  readonly gateUid: number;
  /** Null while the proxy's user does not exist; then it cannot run either. */
  readonly proxyUid: number | null;
}

const refusal = "goto refuse_output";

const relayRefusal = "counter name denied_output reject with tcp reset";

/** Returns the chains that say what named, the gate and the proxy may send, by their names. */
export function confineChains(settings: BaseSettings): readonly (readonly [name: string, rules: readonly string[]])[] {
  return [
    ["refuse_output", refuseOutputRules],
    ["confine_dns", confineDnsRules(settings)],
    ["confine_gate", confineGateRules],
    ["confine_proxy", confineProxyRules(settings)],
  ];
}

/** Returns the management prefixes of one family. */
export function lifelineRanges({ lifeline }: BaseSettings, family: Family): readonly AddressRange[] {
  return lifeline.map(cidrRange).filter((range) => range.family === family);
}

/** Returns the rules of the output hook: what each of our users sends goes to the chain that confines it. */
export function outputRules({ proxy }: BaseSettings, { dnsUid, gateUid, proxyUid }: BaseUsers): readonly string[] {
  const of = (uid: number): string => `meta skuid ${numberToken(uid, 1, 0xffff_fffe)}`;
  return [
    // Before the rule for loopback, where the gateway's own addresses are.
    ...(proxyUid === null ? [] : [`${of(proxyUid)} goto confine_proxy`]),
    // The proxy's way to itself is nobody else's.
    `oifname "lo" tcp dport ${portToken(proxy.relayPort)} ct state new ${relayRefusal}`,
    'oifname "lo" accept',
    `${of(dnsUid)} goto confine_dns`,
    `${of(gateUid)} goto confine_gate`,
    // The stamps are words between our two tables and no marks for anybody else.
    `meta mark { ${markToken(ANSWER)}, ${markToken(VERDICT)} } meta mark set 0x00000000`,
  ];
}

/** A reset reaches a socket that is being connected at once; an ICMP error comes while the socket is busy, and waits for the next try. */
const refuseOutputRules: readonly string[] = [
  "counter name denied_output",
  "meta l4proto tcp reject with tcp reset",
  "reject with icmpx admin-prohibited",
];

function confineDnsRules({ dns }: BaseSettings): readonly string[] {
  const port = portToken(dns.upstreamPort);
  return [
    ...["tcp", "udp"].flatMap((protocol) => [
      `ip daddr @resolvers4 ${protocol} dport ${port} accept`,
      `ip6 daddr @resolvers6 ${protocol} dport ${port} accept`,
    ]),
    // Resolvers that the policy gives to inner zones; its table stamps them.
    `meta mark ${markToken(VERDICT)} meta mark set 0x00000000 accept`,
    refusal,
  ];
}

const confineGateRules: readonly string[] = ["ct direction reply ct state established,related accept", refusal];

/**
 * The proxy asks named, answers its clients, and reaches addresses beyond the upstream interfaces on two ports: public
 * ones, and private ones that the policy's table stamps as the answer to a name. Nothing opens a client, the management
 * or the gateway itself to it.
 */
function confineProxyRules(settings: BaseSettings): readonly string[] {
  const refused = (ranges: (family: Family) => readonly AddressRange[]): readonly string[] =>
    ([4, 6] as const).map((family) => {
      const networks = mergeRanges(ranges(family));
      return `${family === 4 ? "ip" : "ip6"} daddr { ${networks.map(rangeToken).join(", ")} } ${refusal}`;
    });
  const relay = `oifname "lo" tcp dport ${portToken(settings.proxy.relayPort)}`;
  return [
    "ct direction reply ct state established,related accept",
    // What a byte cap has room for; the policy table counts and stamps it.
    `${relay} meta mark ${markToken(VERDICT)} meta mark set 0x00000000 accept`,
    `${relay} ${relayRefusal}`,
    `oifname "lo" ip daddr 127.0.0.1 udp dport ${portToken(settings.dns.namedPort)} accept`,
    ...refused((family) => [...closedRanges(family, "never"), ...lifelineRanges(settings, family)]),
    `oifname @upstream tcp dport { 80, 443 } meta mark ${markToken(ANSWER)} meta mark set 0x00000000 accept`,
    ...refused((family) => closedRanges(family, "private")),
    "oifname @upstream tcp dport { 80, 443 } accept",
    refusal,
  ];
}
