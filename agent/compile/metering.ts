import type { Policy } from "../policy/policy.ts";
import { needsProxy } from "../policy/proxied.ts";
import { markCaps, relayAddress } from "./byte-caps.ts";
import type { ChainParts } from "./chain-parts.ts";
import { CAP_MIN, OVER_CAP, VERDICT } from "./marks.ts";
import { classifyRules } from "./nft-lookups.ts";
import { auditOverCapRule } from "./nft-refuse.ts";
import type { MarkedCap } from "./release.ts";
import { addressToken, markToken, placeToken } from "./tokens.ts";

/** Sets and maps that the gate alone writes: which grant counts for which cap, the kernel's counters, and what is used up. */
export const METER = { capOf: "exfil_of", quota: "exfil_quota", spent: "exfil_spent" } as const;

/**
 * `exfil` sees what policy and limits have let through and the base table has not yet accepted: it counts what leaves.
 * `exfil_relay` sees what the proxy sends itself over loopback for names that have a cap, each cap to an address of its own.
 */
export const meteringObjects = `add map inet clawgress ${METER.capOf} { type mark . mark : mark; }
add map inet clawgress ${METER.quota} { type mark : quota; }
add set inet clawgress ${METER.spent} { type mark; }
add map inet clawgress exfil_relays { type ipv4_addr : mark; }
add chain inet clawgress exfil_over_out
add chain inet clawgress exfil_over_in
add chain inet clawgress exfil_out
add chain inet clawgress exfil_in
add chain inet clawgress exfil { type filter hook forward priority filter + 6; policy accept; }
add chain inet clawgress exfil_relay { type filter hook output priority filter - 10; policy accept; }
`;

/** The part of the policy table that counts bytes and holds hosts to their caps. */
export interface Metering {
  readonly chains: string;
  readonly relays: readonly MarkedCap[];
}

/**
 * Returns what counts. A policy without caps costs no packet a lookup. A packet within its cap goes on with the stamp
 * that it came with; one that is over it, or whose counter is missing, loses the stamp.
 */
export function meterPolicy(policy: Policy, parts: Pick<ChainParts, "globalGroup" | "hasAudit">): Metering {
  const caps = markCaps(policy);
  const isCounting = caps.length > 0;
  const chains: readonly (readonly [name: string, rules: readonly string[]])[] = [
    ["exfil_over_out", isCounting ? overRules(parts, "saddr") : []],
    ["exfil_over_in", isCounting ? overRules(parts, "daddr") : []],
    ["exfil_out", isCounting ? [...capRules(parts, "saddr"), ...spendRules] : []],
    ["exfil_in", isCounting ? [...capRules(parts, "daddr"), ...backRules] : []],
    ["exfil", isCounting ? exfilRules : []],
    ["exfil_relay", isCounting && needsProxy(policy) ? relayRules : []],
  ];
  return {
    chains: chains
      .map(([name, rules]) => {
        const lines = rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`);
        return `flush chain inet clawgress ${name}\n${lines.join("")}`;
      })
      .join(""),
    relays: needsProxy(policy) ? caps : [],
  };
}

/** Returns a cap as an element of `exfil_relays`. */
export function renderRelay({ mark, place }: MarkedCap): string {
  return `${addressToken(relayAddress(mark))} : ${markToken(mark)}, # ${placeToken(place)}\n`;
}

const stamp = `meta mark set ${markToken(VERDICT)}`;

const exfilRules: readonly string[] = [
  `meta mark != ${markToken(VERDICT)} return`,
  "iifname @lan goto exfil_out",
  "oifname @lan goto exfil_in",
];

/** The cap of a flow by its client's group and its grant. Marks of caps are above those of groups. */
function capRules(parts: Pick<ChainParts, "globalGroup">, clientSide: "saddr" | "daddr"): readonly string[] {
  return [
    "meta mark set 0x00000000",
    ...classifyRules(parts, clientSide),
    `meta mark set meta mark . ct mark map @${METER.capOf}`,
    `meta mark < ${markToken(CAP_MIN)} ${stamp} return`,
  ];
}

const spendRules: readonly string[] = [
  // What is refused from here on must not count.
  `meta mark @${METER.spent} goto exfil_over_out`,
  `quota name meta mark map @${METER.quota} ${stamp} return`,
  "goto exfil_over_out",
];

/** What comes back is not counted, but the far end must be told that its flow is over. */
const backRules: readonly string[] = [`meta mark @${METER.spent} goto exfil_over_in`, stamp];

function overRules(
  parts: Pick<ChainParts, "globalGroup" | "hasAudit">,
  clientSide: "saddr" | "daddr",
): readonly string[] {
  const refuse = `meta mark set ${markToken(OVER_CAP)}`;
  if (!parts.hasAudit) return [refuse];
  return [
    "meta mark set 0x00000000",
    ...classifyRules(parts, clientSide),
    `meta mark != @audited ${refuse} return`,
    refuse,
    ...(clientSide === "saddr" ? [auditOverCapRule] : []),
    stamp,
  ];
}

/** An empty segment carries nothing of a client's; without it neither end of the connection would hear of its end. */
const relayRules: readonly string[] = [
  'oifname != "lo" return',
  "ip daddr != 127.1.0.0-127.255.255.255 return",
  "meta mark set 0x00000000",
  "meta mark set ip daddr map @exfil_relays",
  "meta mark 0x00000000 return",
  `ip length 52 tcp doff 8 ${stamp} return`,
  `meta mark @${METER.spent} meta mark set 0x00000000 return`,
  `quota name meta mark map @${METER.quota} ${stamp} return`,
  "meta mark set 0x00000000",
];
