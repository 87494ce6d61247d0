import { type Family, formatAddress } from "../policy/cidr.ts";
import { closedInAudit } from "../policy/special.ts";
import type { ChainParts } from "./chain-parts.ts";
import { AUDIT_GRANT } from "./marks.ts";
import { hoursRules } from "./nft-hours.ts";
import { classifyRules, networkRules } from "./nft-lookups.ts";
import { auditLogRule } from "./nft-refuse.ts";
import { markToken } from "./tokens.ts";

/**
 * The grant of a flow, found by its client, the far address and the far port. A lookup that finds nothing leaves the
 * mark as it is. The far port's class travels in `meta mark` while the pins are asked, so that the connection's mark
 * goes from one grant to another in one step: packets of both directions may be looked at at once. What a client asked
 * over the other address family is pinned to its group, since nobody knows its address there.
 */
export function admitRules(
  parts: ChainParts,
  farAddress: "daddr" | "saddr",
  farPort: "dport" | "sport",
): readonly string[] {
  const client = farAddress === "daddr" ? "saddr" : "daddr";
  const side = farAddress === "daddr" ? "out" : "in";
  const pinKey = (ip: "ip" | "ip6"): string =>
    farAddress === "daddr" ? `${ip} saddr . ${ip} daddr` : `${ip} daddr . ${ip} saddr`;
  const markClass = [
    "ct mark set 0x00000000",
    `ct mark set tcp ${farPort} map @tcp_ports`,
    `ct mark set udp ${farPort} map @udp_ports`,
  ];
  return [
    "meta mark set 0x00000000",
    `meta mark set tcp ${farPort} map @tcp_ports`,
    `meta mark set udp ${farPort} map @udp_ports`,
    `meta mark 0x00000000 ct mark set 0x00000000 ${parts.hasAudit ? `goto unlisted_${side}` : "return"}`,
    `ct mark set ${pinKey("ip")} . meta mark map @pin4`,
    `ct mark set ${pinKey("ip6")} . meta mark map @pin6`,
    "meta mark set 0x00000000",
    ...classifyRules(parts, client),
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["name_hours"]),
    ...markClass,
    `ct mark set meta mark . ip ${farAddress} . ct mark map @group_pin4`,
    `ct mark set meta mark . ip6 ${farAddress} . ct mark map @group_pin6`,
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["name_hours"]),
    ...markClass,
    ...networkRules(parts, farAddress),
    "meta mark . ct mark @live goto ok",
    ...hoursRules(parts, side, "", ["net_hours"]),
    "ct mark set 0x00000000",
    ...(parts.hasAudit ? [`meta mark @audited goto audit_${side}`] : []),
    "meta mark set 0x00000000",
  ];
}

/** A flow on no port of the policy, or of no protocol that has ports: its group is not known any more. */
export function unlistedRules(parts: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  const isOut = farAddress === "daddr";
  return [
    ...classifyRules(parts, isOut ? "saddr" : "daddr"),
    `meta mark @audited goto audit_${isOut ? "out" : "in"}`,
    "meta mark set 0x00000000",
  ];
}

/**
 * What an audit adds: everything but private and reserved addresses. Such a flow has the grant of an audit, which is in
 * `live` as long as its group's audit lasts: the first release that enforces ends it, unless another grant opens it then.
 */
export function auditRules(farAddress: "daddr" | "saddr"): readonly string[] {
  const closed = (family: Family): string =>
    closedInAudit
      .filter((range) => range.family === family)
      .map(({ first, last }) => {
        const from = formatAddress({ family, value: first });
        return first === last ? from : `${from}-${formatAddress({ family, value: last })}`;
      })
      .join(", ");
  return [
    `ip ${farAddress} { ${closed(4)} } goto refuse`,
    `ip6 ${farAddress} { ${closed(6)} } goto refuse`,
    auditLogRule,
    `ct mark set ${markToken(AUDIT_GRANT)}`,
    "goto ok",
  ];
}
