import { AgentError } from "../errors.ts";
import type { Family } from "../policy/cidr.ts";
import { mergeRanges } from "../policy/ranges.ts";
import { probeLink } from "../settings/settings.ts";
import { fenceObject } from "./fence.ts";
import { INTERCEPT, VERDICT } from "./marks.ts";
import { type BaseSettings, type BaseUsers, confineChains, lifelineRanges, outputRules } from "./nft-confine.ts";
import { countChains, countObjects, countRule } from "./nft-count.ts";
import { dropRules, refuseObjects, refuseRules } from "./nft-refuse.ts";
import { addressToken, interfaceToken, markToken, portToken, rangeToken } from "./tokens.ts";

/**
 * Returns the base tables as one transaction: `inet clawgress_base`, which alone accepts and refuses, and the sets of
 * the policy table that agent.json fills. Chains are emptied and filled, never deleted, so that loading it again opens nothing and drops
 * nothing in between, and the policy's maps stay. Interfaces may come to exist later.
 * @throws AgentError SETTINGS_INVALID for interfaces, ports or users that cannot be enforced.
 */
export function renderBase(settings: BaseSettings, users: BaseUsers): string {
  checkUsers(users);
  const clients = [...settings.interfaces.clients, probeLink.gatewayInterface].map(interfaceToken);
  const chains: readonly (readonly [name: string, rules: readonly string[]])[] = [
    ["refuse_forward", refuseRules("forward")],
    ["refuse_input", refuseRules("input")],
    ["refuse_source", dropRules("denied_source", "spoofed")],
    ["refuse_routed", dropRules("denied_source", "routed")],
    ...confineChains(settings),
    ...countChains,
    ["source", sourceRules],
    ["forward", forwardRules(settings)],
    ["input_client", inputClientRules],
    ["input", inputRules(settings)],
    ["output", outputRules(settings, users)],
    ["redirect_clients", redirectRules(settings)],
    ["masquerade_upstream", settings.nat === "masquerade" ? masqueradeRules : []],
  ];
  const sets: readonly (readonly [name: string, elements: readonly string[]])[] = [
    ["clients", clients],
    ["upstream", settings.interfaces.upstream.map(interfaceToken)],
    ["lifeline4", intervalsOf(settings, 4)],
    ["lifeline6", intervalsOf(settings, 6)],
    ["resolvers4", addressesOf(settings, 4)],
    ["resolvers6", addressesOf(settings, 6)],
  ];
  return [
    baseObjects + fenceObject,
    ...sets.map(([name, elements]) => fillSet("clawgress_base", name, elements)),
    policySets,
    fillSet("clawgress", "lan", clients),
    fillSet("clawgress", "lifeline4", intervalsOf(settings, 4)),
    fillSet("clawgress", "lifeline6", intervalsOf(settings, 6)),
    ...chains.map(([name, rules]) => fillChain(name, rules)),
  ].join("");
}

/** The policy table's chains ask these; sets cannot be shared between tables. */
const policySets = `add table inet clawgress
add set inet clawgress lan { type ifname; }
add set inet clawgress lifeline4 { type ipv4_addr; flags interval; }
add set inet clawgress lifeline6 { type ipv6_addr; flags interval; }
`;

/** `forward` is after the policy's chain of the same hook: that one stamps, this one decides. */
const baseObjects = `add table inet clawgress_base
add set inet clawgress_base clients { type ifname; }
add set inet clawgress_base upstream { type ifname; }
add set inet clawgress_base lifeline4 { type ipv4_addr; flags interval; }
add set inet clawgress_base lifeline6 { type ipv6_addr; flags interval; }
add set inet clawgress_base resolvers4 { type ipv4_addr; }
add set inet clawgress_base resolvers6 { type ipv6_addr; }
${refuseObjects}${countObjects}add chain inet clawgress_base refuse_forward
add chain inet clawgress_base refuse_input
add chain inet clawgress_base refuse_source
add chain inet clawgress_base refuse_routed
add chain inet clawgress_base refuse_output
add chain inet clawgress_base confine_dns
add chain inet clawgress_base confine_gate
add chain inet clawgress_base confine_proxy
add chain inet clawgress_base input_client
add chain inet clawgress_base source { type filter hook prerouting priority raw; policy accept; }
add chain inet clawgress_base forward { type filter hook forward priority filter + 10; policy drop; }
add chain inet clawgress_base input { type filter hook input priority filter; policy accept; }
add chain inet clawgress_base output { type filter hook output priority filter; policy accept; }
add chain inet clawgress_base redirect_clients { type nat hook prerouting priority dstnat; policy accept; }
add chain inet clawgress_base masquerade_upstream { type nat hook postrouting priority srcnat; policy accept; }
`;

/**
 * A packet whose source does not route back to where it came from is dropped before a connection is made of it. What a
 * host sends before it has an address is let through to the gateway itself; no router forwards it.
 */
const sourceRules: readonly string[] = [
  "iifname != @clients return",
  "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
  // Through an allowed host to any other: whoever honours such a header would forward for the client.
  "exthdr rt exists goto refuse_routed",
  "ip option lsrr exists goto refuse_routed",
  "ip option ssrr exists goto refuse_routed",
  "ip6 saddr { ::, fe80::/10 } return",
  "fib saddr . iif oif missing goto refuse_source",
];

/**
 * The lifeline may open anything, and only answers go to it. An expected connection (a helper read its address out of
 * another one's payload) inherits the mark of that one and is therefore never accepted by it.
 */
function forwardRules({ lifeline }: BaseSettings): readonly string[] {
  const accept = "meta mark set 0x00000000 accept";
  const lifelineRules = [
    `ip saddr @lifeline4 ${accept}`,
    `ip6 saddr @lifeline6 ${accept}`,
    `ip daddr @lifeline4 ct direction reply ct state established,related ${accept}`,
    `ip6 daddr @lifeline6 ct direction reply ct state established,related ${accept}`,
  ];
  return [
    ...(lifeline.length > 0 ? lifelineRules : []),
    "ct status expected goto refuse_forward",
    countRule(VERDICT),
    `meta mark ${markToken(VERDICT)} ${accept}`,
    "goto refuse_forward",
  ];
}

/**
 * named and its control channel are nobody's but the gateway's; the gate is reached by redirected DNS alone, the proxy by
 * what was redirected to it alone.
 */
function inputRules({ dns, gate, proxy }: BaseSettings): readonly string[] {
  const namedPort = portToken(dns.namedPort);
  const controlPort = portToken(dns.controlPort);
  const gatePort = portToken(gate.port);
  const proxyPorts = [portToken(proxy.httpsPort), portToken(proxy.httpPort)];
  const redirected = (protocol: "tcp" | "udp", from: number, to: number): string =>
    `iifname @clients meta l4proto ${protocol} ct status dnat ct original proto-dst ${portToken(from)} ${protocol} dport ${portToken(to)} accept`;
  return [
    `iifname "lo" tcp dport { ${distinct(proxyPorts)} } goto refuse_input`,
    'iifname "lo" accept',
    redirected("tcp", 53, gate.port),
    redirected("udp", 53, gate.port),
    redirected("tcp", 443, proxy.httpsPort),
    redirected("tcp", 80, proxy.httpPort),
    // Answers to what the gateway itself asked, from whatever port it did.
    "ct direction reply ct state established,related accept",
    `tcp dport { ${distinct([namedPort, controlPort, gatePort, ...proxyPorts, portToken(proxy.relayPort)])} } goto refuse_input`,
    `udp dport { ${distinct([namedPort, gatePort])} } goto refuse_input`,
    "iifname @clients goto input_client",
  ];
}

const inputClientRules: readonly string[] = [
  "ip saddr @lifeline4 accept",
  "ip6 saddr @lifeline6 accept",
  // Errors about what the gateway sent.
  "meta l4proto { icmp, ipv6-icmp } ct state related accept",
  "icmp type echo-request accept",
  "icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept",
  "udp dport { 67, 547 } accept",
  "goto refuse_input",
];

function redirectRules({ gate, proxy }: BaseSettings): readonly string[] {
  const port = portToken(gate.port);
  return [
    "iifname != @clients return",
    "ip saddr @lifeline4 return",
    "ip6 saddr @lifeline6 return",
    `udp dport 53 redirect to :${port}`,
    `tcp dport 53 redirect to :${port}`,
    `meta mark ${markToken(INTERCEPT)} tcp dport 443 redirect to :${portToken(proxy.httpsPort)}`,
    `meta mark ${markToken(INTERCEPT)} tcp dport 80 redirect to :${portToken(proxy.httpPort)}`,
  ];
}

/** What the gateway itself sends keeps the address that it chose. */
const masqueradeRules: readonly string[] = ["oifname @upstream fib saddr type != local masquerade"];

function checkUsers({ dnsUid, gateUid, proxyUid }: BaseUsers): void {
  const uids = [dnsUid, gateUid, ...(proxyUid === null ? [] : [proxyUid])];
  if (!uids.includes(0) && new Set(uids).size === uids.length) return;
  throw new AgentError("SETTINGS_INVALID", "dns.user, gate.user and proxy.user must be different, none of them root", {
    remedy: "name users in agent.json that nothing else runs as: the output rules confine all that they send",
  });
}

function intervalsOf(settings: BaseSettings, family: Family): readonly string[] {
  return mergeRanges(lifelineRanges(settings, family)).map(rangeToken);
}

function addressesOf({ dns }: BaseSettings, family: Family): readonly string[] {
  return dns.upstreams.filter((address) => address.includes(":") === (family === 6)).map(addressToken);
}

function fillSet(table: string, name: string, elements: readonly string[]): string {
  const flush = `flush set inet ${table} ${name}\n`;
  if (elements.length === 0) return flush;
  return `${flush}add element inet ${table} ${name} { ${distinct(elements)} }\n`;
}

function fillChain(name: string, rules: readonly string[]): string {
  const lines = rules.map((rule) => `add rule inet clawgress_base ${name} ${rule}\n`);
  return `flush chain inet clawgress_base ${name}\n${lines.join("")}`;
}

function distinct(tokens: readonly string[]): string {
  return [...new Set(tokens)].join(", ");
}
