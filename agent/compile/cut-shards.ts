import { findListEdits } from "../policy/list-edits.ts";
import type { NamePattern } from "../policy/policy.ts";
import { SHARDS, shardOf } from "./shards.ts";

/** What is cut by its name. */
interface Named {
  readonly pattern: NamePattern;
}

/** Cuts long lists into shards. */
export interface Cutter {
  /**
   * Returns the items of each shard, in the order of the list. Of a list that was cut before under the same name, shards in
   * which nothing changed are the very same arrays.
   */
  cut<Item extends Named>(list: string, items: readonly Item[]): Cut<Item>;
}

export interface Cut<Item> {
  /** By shard. */
  readonly shares: readonly (readonly Item[])[];
  /** By item: its shard. */
  readonly shards: Uint8Array;
  /** Returns the share that a shard had in the cut before, when its items are the same but for their places; else null. */
  keptFrom(shard: number): readonly Item[] | null;
}

interface KnownCut extends Cut<Named> {
  readonly items: readonly Named[];
}

/** Returns a cutter that has cut nothing. */
export function createCutter(): Cutter {
  const known = new Map<string, KnownCut>();
  return {
    cut: <Item extends Named>(list: string, items: readonly Item[]): Cut<Item> => {
      const last = known.get(list);
      const next = (last === undefined ? null : cutAgain(last, items)) ?? cutWhole(items);
      known.set(list, next);
      return next as Cut<Named> as Cut<Item>;
    },
  };
}

function cutWhole(items: readonly Named[]): KnownCut {
  const shards = Uint8Array.from(items, ({ pattern }) => shardOf(pattern.name));
  return { items, shards, shares: share(items, shards), keptFrom: () => null };
}

function share(items: readonly Named[], shards: Uint8Array): readonly (readonly Named[])[] {
  const shares: Named[][] = SHARDS.map(() => []);
  for (let index = 0; index < items.length; index++) shares[shards[index] ?? 0]?.push(items[index] as Named);
  return shares;
}

/** Returns null when too much has changed. */
function cutAgain(last: KnownCut, items: readonly Named[]): KnownCut | null {
  if (last.items === items) return last;
  const same = findListEdits(last.items, items);
  // With a line more, half of the items are new objects of the same names.
  const edits = same ?? findListEdits(last.items, items, isSameButPlace);
  if (edits === null) return null;
  const shards = new Uint8Array(items.length);
  const changed = new Set<number>();
  let [lastEnd, end] = [0, 0];
  for (const { lastAt, at, removed, added } of edits) {
    shards.set(last.shards.subarray(lastEnd, lastAt), end);
    for (const shard of last.shards.subarray(lastAt, lastAt + removed)) changed.add(shard);
    for (let index = at; index < at + added; index++) {
      const shard = shardOf(items[index]?.pattern.name ?? "");
      shards[index] = shard;
      changed.add(shard);
    }
    [lastEnd, end] = [lastAt + removed, at + added];
  }
  shards.set(last.shards.subarray(lastEnd), end);
  if (same === null) {
    const keptFrom = (shard: number) => (changed.has(shard) ? null : (last.shares[shard] ?? null));
    return { items, shards, shares: share(items, shards), keptFrom };
  }
  const shares = last.shares.map((known, shard) =>
    changed.has(shard) ? items.filter((_item, index) => shards[index] === shard) : known,
  );
  return { items, shards, shares, keptFrom: () => null };
}

/** Whatever an item may have: each of its parts but the place must be the very same. */
export function isSameButPlace<Item extends object>(a: Item, b: Item): boolean {
  if (a === b) return true;
  let count = 0;
  for (const key in a) {
    if (key !== "place" && a[key] !== b[key]) return false;
    count++;
  }
  for (const _key in b) count--;
  return count === 0;
}
