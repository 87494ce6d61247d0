import { type AddressRange, cidrRange, type Family } from "../policy/cidr.ts";
import type { Denials, NetworkDenial, Place, Policy } from "../policy/policy.ts";
import { mergeRanges } from "../policy/ranges.ts";
import { groupMarks } from "./grants.ts";
import { lapseOf, type MarkedSchedule, scheduleMark } from "./policy-hours.ts";

/** A network that one group alone is denied. */
export interface GroupDenial {
  readonly family: Family;
  readonly group: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly place: Place;
}

/** A network that one group, or everyone, is denied until a time. */
export interface LapsingDenial extends Omit<GroupDenial, "group"> {
  /** Null: everyone. */
  readonly group: number | null;
  readonly schedule: number;
}

/** Returns the addresses that a policy denies for everyone and for ever, sorted, disjoint, as nft wants them. */
export function deniedRanges(policy: Policy, family: Family): readonly AddressRange[] {
  const lasting = (policy.deny?.networks ?? []).filter(({ expiresS }) => expiresS === undefined);
  const ranges = lasting.map(({ network }) => cidrRange(network));
  return mergeRanges(ranges.filter((range) => range.family === family));
}

/** Returns the networks that groups are denied besides, for ever, in the order of groups and networks. */
export function groupDenials(policy: Policy): readonly GroupDenial[] {
  const marks = groupMarks(policy);
  return policy.groups.flatMap((group) => {
    const mark = marks.get(group.name);
    const lasting = (group.deny?.networks ?? []).filter(({ expiresS }) => expiresS === undefined);
    return mark === undefined ? [] : lasting.map((denial) => ({ group: mark, ...networkParts(denial) }));
  });
}

/** Returns the networks that everyone and groups are denied until a time, in the order of groups and networks. */
export function lapsingDenials(
  policy: Policy,
  schedules: ReadonlyMap<string, Pick<MarkedSchedule, "mark">>,
): readonly LapsingDenial[] {
  const marks = groupMarks(policy);
  const owners: readonly { readonly group: number | null; readonly deny: Denials | undefined }[] = [
    { group: null, deny: policy.deny },
    ...policy.groups.map(({ name, deny }) => ({ group: marks.get(name) ?? null, deny })),
  ];
  return owners.flatMap(({ group, deny }) =>
    (deny?.networks ?? []).flatMap((denial) => {
      const schedule = scheduleMark(schedules, lapseOf(denial));
      return schedule === null ? [] : [{ group, schedule, ...networkParts(denial) }];
    }),
  );
}

function networkParts({ network, place }: NetworkDenial): Omit<GroupDenial, "group"> {
  const [address = "", length] = network.split("/");
  return { family: network.includes(":") ? 6 : 4, address, prefixLength: Number(length), place };
}

/** Returns the different prefix lengths of some denials of a family, sorted. */
export function denialLengths(denials: readonly Omit<GroupDenial, "group">[], family: Family): readonly number[] {
  const lengths = denials.filter((denial) => denial.family === family).map(({ prefixLength }) => prefixLength);
  return [...new Set(lengths)].sort((a, b) => a - b);
}
