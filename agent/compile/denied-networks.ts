import { type AddressRange, cidrRange, type Family } from "../policy/cidr.ts";
import type { Place, Policy } from "../policy/policy.ts";
import { mergeRanges } from "../policy/ranges.ts";
import { groupMarks } from "./grants.ts";

/** A network that one group alone is denied. */
export interface GroupDenial {
  readonly family: Family;
  readonly group: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly place: Place;
}

/** Returns the addresses that a policy denies for everyone, sorted, disjoint, as nft wants them. */
export function deniedRanges(policy: Policy, family: Family): readonly AddressRange[] {
  const ranges = (policy.deny?.networks ?? []).map(({ network }) => cidrRange(network));
  return mergeRanges(ranges.filter((range) => range.family === family));
}

/** Returns the networks that groups are denied besides, in the order of groups and networks. */
export function groupDenials(policy: Policy): readonly GroupDenial[] {
  const marks = groupMarks(policy);
  return policy.groups.flatMap((group) =>
    (group.deny?.networks ?? []).flatMap(({ network, place }) => {
      const mark = marks.get(group.name);
      const [address = "", length] = network.split("/");
      const family: Family = network.includes(":") ? 6 : 4;
      return mark === undefined ? [] : [{ family, group: mark, address, prefixLength: Number(length), place }];
    }),
  );
}

/** Returns the different prefix lengths of some denials of a family, sorted. */
export function denialLengths(denials: readonly GroupDenial[], family: Family): readonly number[] {
  const lengths = denials.filter((denial) => denial.family === family).map(({ prefixLength }) => prefixLength);
  return [...new Set(lengths)].sort((a, b) => a - b);
}
