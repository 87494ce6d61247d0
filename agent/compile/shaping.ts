import { formatAddress } from "../policy/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import { needsProxy } from "../policy/proxied.ts";
import { type Budget, hostBudgets, type Spender, spenders } from "./budgets.ts";
import { VERDICT } from "./marks.ts";
import { addressToken, markToken, numberToken, placeToken } from "./tokens.ts";

/** As in the policy's schema. */
const MAX_KBPS = 100_000_000;
/**
 * What may be sent at once on top of one second's worth, which the kernel's limit always grants (nft_limit.c: a bucket
 * holds rate × 1 s + burst). More than the largest packet: segments that the network card has joined, up to 64 KiB, are
 * charged as one, and a packet that is larger than the bucket would never pass.
 */
const BURST_BYTES = 128 * 1024;
/** Clients in no host entry that are counted at a time; one more is denied until another one has been silent. */
const MAX_CLIENTS = 65_536;

/** Sets of the policy table: client → what was over its limit; beyond their size it is counted without the client. */
export const shapedSets = ["shaped4", "shaped6"] as const;

/**
 * `shape` sees a packet after the policy's chain has stamped it and before the base table decides: what is denied costs
 * its sender nothing and is refused aloud. `budgets` holds a limit in each element; `spent4` and `spent6` count clients
 * in no host entry, each for a rate, so that another rate counts anew. `shape_proxied` sees what was redirected to the
 * proxy of SNI mode.
 */
export const shapingObjects = `add set inet clawgress lifeline4 { type ipv4_addr; flags interval; }
add set inet clawgress lifeline6 { type ipv6_addr; flags interval; }
add map inet clawgress limit4 { type ipv4_addr : mark; flags interval; }
add map inet clawgress limit6 { type ipv6_addr : mark; flags interval; }
add set inet clawgress budgets { type mark; limit rate over 1 bytes/second; }
add set inet clawgress spent4 { type ipv4_addr . mark; size ${MAX_CLIENTS}; flags dynamic,timeout; timeout 1m; }
add set inet clawgress spent6 { type ipv6_addr . mark; size ${MAX_CLIENTS}; flags dynamic,timeout; timeout 1m; }
${shapedSets.map(shapedSet).join("")}add chain inet clawgress spend
add chain inet clawgress over_limit
add chain inet clawgress shape { type filter hook forward priority filter + 5; policy accept; }
add chain inet clawgress shape_proxied { type filter hook input priority filter - 5; policy accept; }
`;

function shapedSet(name: (typeof shapedSets)[number]): string {
  const type = name === "shaped4" ? "ipv4_addr" : "ipv6_addr";
  return `add set inet clawgress ${name} { type ${type}; size ${MAX_CLIENTS}; flags dynamic,timeout; timeout 1d; }\n`;
}

/** The part of the policy table that holds hosts to `egress_kbps`: chains, and what each map gets. */
export interface Shaping {
  readonly chains: string;
  readonly spenders: readonly Spender[];
  readonly budgets: readonly Budget[];
}

/**
 * Returns what holds a policy's clients to their limits. It only drops, by the packet's source alone: what a client
 * sends to the proxy on the gateway, which `forward` never sees, is spent alike. `spend` leaves `meta mark` changed;
 * `shape` puts back the stamp without which no packet comes to it.
 */
export function shapePolicy(policy: Policy): Shaping {
  const budgets = [...hostBudgets(policy).values()].sort((a, b) => a.mark - b.mark);
  const isLimited = budgets.length > 0 || policy.limits !== null;
  return {
    chains: [
      renderChain("over_limit", isLimited ? overLimitRules : []),
      renderChain("spend", isLimited ? spendRules(policy) : []),
      renderChain("shape", isLimited ? shapeRules : []),
      renderChain("shape_proxied", isLimited && needsProxy(policy) ? shapeProxiedRules : []),
    ].join(""),
    spenders: spenders(policy),
    budgets,
  };
}

/** Returns a spender as an element of `limit4` or `limit6`. */
export function renderSpender({ family, first, last, mark, place }: Spender): string {
  const from = addressToken(formatAddress({ family, value: first }));
  const to = addressToken(formatAddress({ family, value: last }));
  return `${from === to ? from : `${from}-${to}`} : ${markToken(mark)}, # ${placeToken(place)}\n`;
}

/** Returns a budget as an element of `budgets`, with its limit. */
export function renderBudget({ mark, egressKbps, place }: Budget): string {
  return `${markToken(mark)} ${limitOf(egressKbps)}, # ${placeToken(place)}\n`;
}

const shapeRules: readonly string[] = [
  `meta mark != ${markToken(VERDICT)} return`,
  "iifname != @lan return",
  // Management is not the internet: no policy may slow it down.
  ...["saddr", "daddr"].flatMap((side) => [`ip ${side} @lifeline4 return`, `ip6 ${side} @lifeline6 return`]),
  "jump spend",
  `meta mark set ${markToken(VERDICT)}`,
];

/** The lifeline is never redirected, so nothing of it comes here. */
const shapeProxiedRules: readonly string[] = [
  "iifname != @lan return",
  "meta l4proto tcp ct status dnat ct original proto-dst { 80, 443 } jump spend",
  "meta mark set 0x00000000",
];

/** A packet that finds no room in the sets goes on to the drop. */
const overLimitRules: readonly string[] = [
  "update @shaped4 { ip saddr counter }",
  "update @shaped6 { ip6 saddr counter }",
  "counter name over_limit drop",
];

const drop = "goto over_limit";

function spendRules({ limits }: Policy): readonly string[] {
  const rules = [
    "meta mark set 0x00000000",
    "meta mark set ip saddr map @limit4",
    "meta mark set ip6 saddr map @limit6",
    `meta mark @budgets ${drop}`,
  ];
  if (limits === null) return rules;
  const rate = markToken(limits.egressKbps);
  const trace = ` # ${placeToken(limits.place)}`;
  const limit = limitOf(limits.egressKbps);
  return [
    ...rules,
    "meta mark != 0x00000000 return",
    `meta mark set ${rate}`,
    `update @spent4 { ip saddr . meta mark ${limit} } ${drop}${trace}`,
    `update @spent6 { ip6 saddr . meta mark ${limit} } ${drop}${trace}`,
    // A client that found no room in the set was not counted.
    `ip saddr . meta mark != @spent4 ${drop}`,
    `ip6 saddr . meta mark != @spent6 ${drop}`,
  ];
}

/** A kilobit is 1,000 bits, as everywhere in networks; nft's kbytes are 1,024 bytes, so all is written in bytes. */
function limitOf(egressKbps: number): string {
  numberToken(egressKbps, 1, MAX_KBPS);
  return `limit rate over ${egressKbps * 125} bytes/second burst ${BURST_BYTES} bytes`;
}

function renderChain(name: string, rules: readonly string[]): string {
  return `flush chain inet clawgress ${name}\n${rules.map((rule) => `add rule inet clawgress ${name} ${rule}\n`).join("")}`;
}
