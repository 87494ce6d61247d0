import { type AddressRange, compareRanges } from "./cidr.ts";

/** Returns the same addresses as sorted ranges that neither overlap nor touch. */
export function mergeRanges(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const merged: AddressRange[] = [];
  for (const range of ranges.toSorted(compareRanges)) {
    const previous = merged.at(-1);
    if (previous?.family === range.family && range.first <= previous.last + 1n) {
      if (range.last > previous.last) merged[merged.length - 1] = { ...previous, last: range.last };
    } else merged.push(range);
  }
  return merged;
}

/** Returns what is left of a range without some others, sorted and disjoint. */
export function subtractRanges(range: AddressRange, holes: readonly AddressRange[]): readonly AddressRange[] {
  const left: AddressRange[] = [];
  let { first } = range;
  for (const hole of mergeRanges(holes)) {
    if (hole.family !== range.family || hole.last < first || hole.first > range.last) continue;
    if (hole.first > first) left.push({ family: range.family, first, last: hole.first - 1n });
    first = hole.last + 1n;
  }
  if (first <= range.last) left.push({ family: range.family, first, last: range.last });
  return left;
}
