import { type Address, type AddressRange, compareRanges } from "./cidr.ts";

/** Finds the networks that hold an address, the most specific first; of the same network twice, the first given first. */
export interface PrefixTable<T> {
  find(address: Address): readonly T[];
  /** Returns the most specific one only, or null. */
  findFirst(address: Address): T | null;
}

interface Side {
  /** Start of each interval, ascending; an interval ends where the next one starts. */
  readonly starts: bigint[];
  /** The innermost network of each interval, or -1. */
  readonly owners: number[];
}

const NONE = -1;

/**
 * Returns a table of networks: sorted intervals, each with its innermost network, and for each network the one around
 * it. Networks nest or are disjoint, so n of them give at most 2n intervals, and a search is one bisection. (A hash by
 * address would collide at will: V8 hashes only the low 64 bits of a bigint.)
 */
export function buildPrefixTable<T>(
  entries: readonly { readonly range: AddressRange; readonly value: T }[],
): PrefixTable<T> {
  const order = entries.map((_, index) => index);
  const rangeOf = (index: number): AddressRange => {
    const entry = entries[index];
    if (entry === undefined) throw new RangeError(`no entry ${index}`);
    return entry.range;
  };
  // Of equal networks the later given is the outer one.
  order.sort((a, b) => compareRanges(rangeOf(a), rangeOf(b)) || b - a);
  const parents = new Array<number>(entries.length).fill(NONE);
  const sides = { 4: sweep(order, rangeOf, parents, 4), 6: sweep(order, rangeOf, parents, 6) };

  const chainFrom = (start: number): readonly T[] => {
    const found: T[] = [];
    for (let index = start; index !== NONE; index = parents[index] ?? NONE) {
      const entry = entries[index];
      if (entry !== undefined) found.push(entry.value);
    }
    return found;
  };
  return {
    find: (address) => chainFrom(findOwner(sides[address.family], address.value)),
    findFirst: (address) => entries[findOwner(sides[address.family], address.value)]?.value ?? null,
  };
}

function sweep(
  order: readonly number[],
  rangeOf: (index: number) => AddressRange,
  parents: number[],
  family: 4 | 6,
): Side {
  const side: Side = { starts: [], owners: [] };
  const open: number[] = [];
  const begin = (start: bigint, owner: number): void => {
    if (side.starts.at(-1) === start) side.owners[side.owners.length - 1] = owner;
    else {
      side.starts.push(start);
      side.owners.push(owner);
    }
  };
  const closeBefore = (first: bigint | null): void => {
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const { last } = rangeOf(top);
      if (first !== null && last >= first) return;
      open.pop();
      begin(last + 1n, open.at(-1) ?? NONE);
    }
  };
  for (const index of order) {
    const { first, family: own } = rangeOf(index);
    if (own !== family) continue;
    closeBefore(first);
    parents[index] = open.at(-1) ?? NONE;
    begin(first, index);
    open.push(index);
  }
  closeBefore(null);
  return side;
}

function findOwner(side: Side, value: bigint): number {
  let low = 0;
  let high = side.starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const start = side.starts[middle];
    if (start !== undefined && start <= value) low = middle + 1;
    else high = middle;
  }
  return side.owners[low - 1] ?? NONE;
}
