import type { Family } from "../policy/cidr.ts";
import type { ChainParts } from "./chain-parts.ts";
import { scheduleMin, windowSets } from "./nft-hours.ts";
import { prefixParts } from "./nft-lookups.ts";

/**
 * Denied networks are asked before any grant, for flows that go on too: a grant belongs to a name, and stays in force
 * while some of the name's addresses are denied. Under audit they go the way of all that is only spared, so that private
 * ones stay closed even where a network allows them.
 */
export function denyRules({ denied, hasAudit }: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  if (denied === null) return [];
  const [direction, side] = farAddress === "daddr" ? ["original", "out"] : ["reply", "in"];
  const rulesFor = (match: string): readonly string[] =>
    hasAudit
      ? [
          `meta mark != @audited ${match} goto refuse`,
          `meta mark @audited ct direction ${direction} ${match} goto audit_${side}`,
        ]
      : [`${match} goto refuse`];
  const ofGroup = (family: Family, length: number): readonly string[] => {
    const { field, mask, lengthMark } = prefixParts(family, length, farAddress);
    // A constant cannot stand in a concatenation alone.
    return rulesFor(`meta mark . (${field} & ${mask}) . (ct mark & 0x00000000 | ${lengthMark}) @group_deny${family}`);
  };
  return [
    ...(denied.everyone4 ? rulesFor(`ip ${farAddress} @deny4`) : []),
    ...(denied.everyone6 ? rulesFor(`ip6 ${farAddress} @deny6`) : []),
    ...denied.groupLengths4.flatMap((length) => ofGroup(4, length)),
    ...denied.groupLengths6.flatMap((length) => ofGroup(6, length)),
  ];
}

/**
 * What is denied until a time. A denial whose schedule has no time now holds: so it does until somebody alive says
 * that it has ended.
 */
export function lapsingRules({ lapsing, hasAudit }: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  if (lapsing === null) return [];
  const isOutside = windowSets.map((set) => `meta mark . meta time != @${set}`).join(" ");
  const unlessAudited = hasAudit ? "meta mark != @audited " : "";
  const rules = (family: Family, length: number, ofGroup: boolean): readonly string[] => {
    const { field, mask, lengthMark } = prefixParts(family, length, farAddress);
    const key = `${ofGroup ? "meta mark . " : ""}(${field} & ${mask}) . (ct mark & 0x00000000 | ${lengthMark})`;
    return [
      `${unlessAudited}meta mark set ${key} map @${ofGroup ? "group_" : ""}lapse${family}`,
      `meta mark >= ${scheduleMin} ${isOutside} goto refuse`,
      `meta mark >= ${scheduleMin} jump regroup_${farAddress === "daddr" ? "out" : "in"}`,
    ];
  };
  return [
    ...lapsing.everyoneLengths4.flatMap((length) => rules(4, length, false)),
    ...lapsing.everyoneLengths6.flatMap((length) => rules(6, length, false)),
    ...lapsing.groupLengths4.flatMap((length) => rules(4, length, true)),
    ...lapsing.groupLengths6.flatMap((length) => rules(6, length, true)),
  ];
}
