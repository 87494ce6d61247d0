import type { ChainParts } from "./chain-parts.ts";
import { NETWORK_GRANT_MIN, SCHEDULE_MIN } from "./marks.ts";
import { classifyRules } from "./nft-lookups.ts";
import { markToken } from "./tokens.ts";

export const scheduleMin = markToken(SCHEDULE_MIN);

/**
 * Times of schedules are in one of these sets; to write all anew, the other one is filled before this one is emptied.
 * Emptied and filled in one transaction, a set of intervals misses packets in between, which ends their flows (Linux 6.1).
 */
export const windowSets = ["window", "window_b"] as const;
export type WindowSet = (typeof windowSets)[number];

export function usesSchedules({ hasHours, lapsing }: ChainParts): boolean {
  return hasHours || lapsing !== null;
}

/**
 * A grant that is open at times is not in `live`: `name_hours` and `net_hours` lead from it to its schedule, and one of two
 * sets has the times of that. Meanwhile `meta mark` holds the schedule; whoever is not within its hours gets the group back.
 */
export function hoursRules(
  parts: ChainParts,
  side: "out" | "in",
  condition: string,
  maps: readonly ("net_hours" | "name_hours")[],
): readonly string[] {
  if (!parts.hasHours) return [];
  return [
    ...maps.map((map) => `${condition}meta mark set meta mark . ct mark map @${map}`),
    ...windowSets.map((set) => `meta mark >= ${scheduleMin} meta mark . meta time @${set} goto ok`),
    `meta mark >= ${scheduleMin} jump regroup_${side}`,
  ];
}

export function regroupRules(parts: ChainParts, side: "saddr" | "daddr"): readonly string[] {
  return ["meta mark set 0x00000000", ...classifyRules(parts, side)];
}

/** Plain HTTP to a network that opens port 80 goes straight there; while the network is closed, by the names of the proxy. */
export function openNetworkRules({ hasHours }: ChainParts): readonly string[] {
  const leave = "meta mark set 0x00000000 ct mark set 0x00000000 return";
  if (!hasHours) return [`ct mark >= ${markToken(NETWORK_GRANT_MIN)} ${leave}`];
  return [
    `meta mark . ct mark @live ${leave}`,
    "meta mark set meta mark . ct mark map @net_hours",
    ...windowSets.map((set) => `meta mark . meta time @${set} ${leave}`),
  ];
}
