import type { Policy } from "../policy/policy.ts";
import type { ActivePolicy } from "./active-policy.ts";
import type { Ledger } from "./ledger.ts";
import { groupMarkOf } from "./pin-owner.ts";

const MAX_GROUPS = 1_000;
const OTHER = "other";
const DAY_S = 86_400;
const WITHIN_DAYS = [1, 7, 30] as const;

/** Returns group → addresses with a port that the gate holds open for it. Beyond 1,000 groups they share `other`. */
export function countPinsByGroup(
  { owners }: Pick<Ledger, "owners">,
  policy: ActivePolicy | null,
): { readonly [group: string]: number } {
  const pins = new Map<string, number>();
  if (policy === null) return {};
  const nameOf = new Map(Object.entries(policy.release.groups).map(([name, mark]) => [mark, name]));
  for (const [owner, addresses] of owners) {
    const mark = groupMarkOf(owner);
    const group = mark === null ? policy.clientOf(owner).group.name : (nameOf.get(mark) ?? OTHER);
    const label = pins.has(group) || pins.size < MAX_GROUPS ? group : OTHER;
    let elements = 0;
    for (const address of addresses.values()) elements += address.elements.size;
    pins.set(label, (pins.get(label) ?? 0) + elements);
  }
  return Object.fromEntries([...pins].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Returns how many entries that allow something will have expired in a day, a week and 30 days, and have not yet. */
export function countExpiring({ groups }: Policy, nowS: number): { readonly [within: string]: number } {
  const ends = groups
    .flatMap(({ names, networks }) => [...names, ...networks])
    .flatMap(({ expiresS }) => (expiresS === undefined || expiresS <= nowS ? [] : [expiresS]));
  return Object.fromEntries(
    WITHIN_DAYS.map((days) => [`${days}d`, ends.filter((endS) => endS <= nowS + days * DAY_S).length]),
  );
}
