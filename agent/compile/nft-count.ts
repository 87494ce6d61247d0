import { OVER_CAP } from "./marks.ts";
import { markToken } from "./tokens.ts";

/*
 * What was let through is counted where it is accepted: bytes of each client and grant, and each connection once. The
 * counts are the kernel's, so that nothing is lost while nobody looks.
 */

/** Sets of the base table: client and grant → bytes up, bytes down, connections. */
export const countSets = {
  up: ["sent4", "sent6"],
  down: ["received4", "received6"],
  connections: ["opened4", "opened6"],
} as const;

/** Counter of the base table: flows that were let through, answered, and refused later, each once. */
export const REVOKED_COUNTER = "revoked_flows";

/** Clients times grants; what is beyond is let through and not counted. */
const MAX_PAIRS = 65_535;
/** A pair that is silent for this long is forgotten; readers come every few seconds. */
const FORGET_DAYS = 1;
/**
 * Bit of the connection label that says that a connection is counted: a first packet may come several times. The
 * connection's own counters do not tell, since the kernel does not count a first packet that comes again.
 */
const COUNTED_LABEL = 99;
/** Bit that says that a connection is counted as revoked: whoever lost it sends again, and so does its far end. */
const REVOKED_LABEL = 98;

/** Declares what `countRules` uses. */
export const countObjects = [
  ...Object.values(countSets).flatMap(([four, six]) => [countSet(four, "ipv4_addr"), countSet(six, "ipv6_addr")]),
  `add counter inet clawgress_base ${REVOKED_COUNTER}\n`,
  ...["count", "count_up", "count_down", "count_revoked"].map((chain) => `add chain inet clawgress_base ${chain}\n`),
].join("");

function countSet(name: string, type: string): string {
  return `add set inet clawgress_base ${name} { type ${type} . mark; flags dynamic,timeout; timeout ${FORGET_DAYS}d; size ${MAX_PAIRS}; }\n`;
}

/** Returns the chains that count a packet; `count` is entered by `jump` for what the policy stamped, and never decides. */
export const countChains: readonly (readonly [name: string, rules: readonly string[]])[] = [
  ["count", ["iifname @clients goto count_up", "oifname @clients goto count_down"]],
  [
    "count_up",
    [
      "update @sent4 { ip saddr . ct mark counter }",
      "update @sent6 { ip6 saddr . ct mark counter }",
      "ct state != new return",
      `ct label ${COUNTED_LABEL} return`,
      "update @opened4 { ip saddr . ct mark counter }",
      "update @opened6 { ip6 saddr . ct mark counter }",
      `ct label set ${COUNTED_LABEL}`,
    ],
  ],
  [
    "count_down",
    ["update @received4 { ip daddr . ct mark counter }", "update @received6 { ip6 daddr . ct mark counter }"],
  ],
  [
    "count_revoked",
    [`ct label ${REVOKED_LABEL} return`, `counter name ${REVOKED_COUNTER}`, `ct label set ${REVOKED_LABEL}`],
  ],
];

/**
 * The rule that counts a flow whose grant went, at its next packet in either direction; what a byte cap has no room for has
 * a grant.
 */
export const revokedRule = `ct state established ct label ${COUNTED_LABEL} meta mark != ${markToken(OVER_CAP)} jump count_revoked`;

/** Returns the rule that counts what a mark says is let through. */
export function countRule(mark: number): string {
  return `meta mark ${markToken(mark)} jump count`;
}
