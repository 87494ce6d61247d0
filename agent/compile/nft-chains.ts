import type { Family } from "../policy/cidr.ts";
import type { ChainParts } from "./chain-parts.ts";
import { ANSWER, INTERCEPT, VERDICT } from "./marks.ts";
import { admitRules, auditRules, unlistedRules } from "./nft-admit.ts";
import { denyRules, lapsingRules } from "./nft-denials.ts";
import { hoursRules, openNetworkRules, regroupRules, usesSchedules } from "./nft-hours.ts";
import { classifyRules, networkRules } from "./nft-lookups.ts";
import { markToken } from "./tokens.ts";

const verdict = markToken(VERDICT);

/**
 * Returns the rules of the policy table, each chain emptied first. They only stamp; the base table decides. A packet
 * carries its group in `meta mark`, a connection its grant in `ct mark`; both are compared with the set `live`.
 *
 * A chain is entered by `goto`, never by `jump`: a return from `admit` must end with nothing stamped. Only `regroup_out`
 * and `regroup_in`, which find out the group again, are jumped to: they stamp nothing.
 */
export function renderChains(parts: ChainParts): string {
  const chains: readonly (readonly [name: string, rules: readonly string[]])[] = [
    ["ok", [`meta mark set ${verdict}`]],
    ["refuse", ["meta mark set 0x00000000"]],
    ["regroup_out", usesSchedules(parts) ? regroupRules(parts, "saddr") : []],
    ["regroup_in", usesSchedules(parts) ? regroupRules(parts, "daddr") : []],
    ["audit_out", parts.hasAudit ? auditRules("daddr") : []],
    ["audit_in", parts.hasAudit ? auditRules("saddr") : []],
    ["unlisted_out", parts.hasAudit ? unlistedRules(parts, "daddr") : []],
    ["unlisted_in", parts.hasAudit ? unlistedRules(parts, "saddr") : []],
    ["admit", admitRules(parts, "daddr", "dport")],
    ["readmit", admitRules(parts, "saddr", "sport")],
    ["outward", outwardRules(parts)],
    ["inward", inwardRules(parts)],
    ["intercept", interceptRules(parts)],
    ["forward", forwardRules(parts)],
    ["resolve", resolveRules(parts)],
  ];
  return chains
    .map(([name, rules]) => {
      const lines = rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`);
      return `flush chain inet clawgress ${name}\n${lines.join("")}`;
    })
    .join("");
}

function forwardRules({ denyAll }: ChainParts): readonly string[] {
  const clear = "meta mark set 0x00000000";
  if (denyAll) return [clear];
  return [clear, "ct state invalid return", "iifname @lan goto outward", "oifname @lan goto inward"];
}

/**
 * Questions to the resolvers of inner zones: the base table accepts them of named's user, and of nobody else that it
 * confines. What a name's `answers` cover has a stamp of its own, which it accepts of the proxy's user alone.
 */
function resolveRules({ resolverFamilies, answerFamilies }: ChainParts): readonly string[] {
  const ip = (family: Family): string => (family === 4 ? "ip" : "ip6");
  return [
    ...resolverFamilies.flatMap((family) =>
      ["udp", "tcp"].map(
        (protocol) => `${ip(family)} daddr @resolvers${family} ${protocol} dport 53 meta mark set ${verdict}`,
      ),
    ),
    ...answerFamilies.map(
      (family) => `${ip(family)} daddr @answers${family} tcp dport { 80, 443 } meta mark set ${markToken(ANSWER)}`,
    ),
  ];
}

/**
 * Which new connections to 443 and 80 the base table redirects to the proxy: those of groups in SNI mode, but for plain
 * HTTP to a network that opens port 80. A link-local source belongs to no host entry and is never forwarded; the proxy
 * is no way round that.
 */
function interceptRules(parts: ChainParts): readonly string[] {
  if (parts.denyAll || !parts.isProxied) return [];
  const intercept = markToken(INTERCEPT);
  return [
    "iifname != @lan return",
    "meta l4proto != tcp return",
    "tcp dport != { 80, 443 } return",
    "ct state != new return",
    "ip6 saddr fe80::/10 return",
    "fib daddr type != unicast return",
    "ct mark set 0x00000000",
    ...classifyRules(parts, "saddr", "ct mark"),
    "meta mark set ct mark map @proxied",
    `meta mark != ${intercept} ct mark set 0x00000000 return`,
    "tcp dport 443 ct mark set 0x00000000 return",
    "meta mark set ct mark",
    "ct mark set 0x00000000",
    "ct mark set tcp dport map @tcp_ports",
    ...networkRules(parts, "daddr"),
    ...openNetworkRules(parts),
    "ct mark set 0x00000000",
    `meta mark set ${intercept}`,
  ];
}

function outwardRules(parts: ChainParts): readonly string[] {
  return [
    "oifname @lan return",
    ...classifyRules(parts, "saddr"),
    ...denyRules(parts, "daddr"),
    ...lapsingRules(parts, "daddr"),
    "ct state established,related meta mark . ct mark @live goto ok",
    ...hoursRules(parts, "out", "ct state established,related ", ["net_hours", "name_hours"]),
    "ct direction original ct state new,established goto admit",
    ...(parts.hasAudit ? ["ct direction original meta mark @audited goto audit_out"] : []),
    "meta mark set 0x00000000",
  ];
}

function inwardRules(parts: ChainParts): readonly string[] {
  return [
    ...classifyRules(parts, "daddr"),
    ...denyRules(parts, "saddr"),
    ...lapsingRules(parts, "saddr"),
    "ct state established,related meta mark . ct mark @live goto ok",
    ...hoursRules(parts, "in", "ct state established,related ", ["net_hours", "name_hours"]),
    // A flow whose grant went, but that another rule still allows, goes on whichever side speaks first.
    "ct direction reply ct state established goto readmit",
    ...(parts.hasAudit ? ["ct direction reply meta mark @audited goto audit_in"] : []),
    "meta mark set 0x00000000",
  ];
}
