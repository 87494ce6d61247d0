import { findListEdits } from "../policy/list-edits.ts";
import type { NamePattern } from "../policy/policy.ts";
import { SHARDS, shardOf } from "./shards.ts";

/** What is cut by its name. */
interface Named {
  readonly pattern: NamePattern;
}

/** Cuts long lists into shards. */
export interface Cutter {
  /** Returns a list in shards. What did not change since it was cut before under the same name is known by its tokens. */
  cut<Item extends Named>(list: string, items: readonly Item[]): Cut<Item>;
}

/** A token is an object that stands for something: the very same one stands for the same thing, another one says nothing. */
type Token = object;

export interface Cut<Item> {
  /** By item: its shard. */
  readonly shards: Uint8Array;
  /** By shard, for its items in their order, wherever they are written. */
  readonly contents: readonly Token[];
  /** By shard, for the same and where each is written. */
  readonly versions: readonly Token[];
  /** No version is known, as when a line has moved all those below it. */
  readonly isMoved: boolean;
  /** Returns the items of a shard, in the order of the list. */
  shareOf(shard: number): readonly Item[];
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
  const tokens = { contents: createTokens(), versions: createTokens(), isMoved: true };
  return { items, shards, ...tokens, shareOf: createShares(items, shards) };
}

function createTokens(): readonly Token[] {
  return SHARDS.map(() => ({}));
}

/** Shares one by one up to here, each a look at all items. */
const MAX_SINGLE = 4;

function createShares(items: readonly Named[], shards: Uint8Array): Cut<Named>["shareOf"] {
  const known = new Map<number, readonly Named[]>();
  let all: readonly (readonly Named[])[] | null = null;
  return (shard) => {
    const share = all?.[shard] ?? known.get(shard);
    if (share !== undefined) return share;
    if (known.size === MAX_SINGLE) {
      all = shareAll(items, shards);
      return all[shard] ?? [];
    }
    const found: Named[] = [];
    for (let at = 0; at < shards.length; at++) if (shards[at] === shard) found.push(items[at] as Named);
    known.set(shard, found);
    return found;
  };
}

function shareAll(items: readonly Named[], shards: Uint8Array): readonly (readonly Named[])[] {
  const shares: Named[][] = SHARDS.map(() => []);
  for (let at = 0; at < items.length; at++) shares[shards[at] ?? 0]?.push(items[at] as Named);
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
  const keep = (tokens: readonly Token[]): readonly Token[] =>
    tokens.map((token, shard) => (changed.has(shard) ? {} : token));
  const isMoved = same === null;
  const versions = isMoved ? createTokens() : keep(last.versions);
  return { items, shards, contents: keep(last.contents), versions, isMoved, shareOf: createShares(items, shards) };
}

/** Whatever an item may have: each of its parts but the place must be the very same. */
function isSameButPlace<Item extends object>(a: Item, b: Item): boolean {
  if (a === b) return true;
  let count = 0;
  for (const key in a) {
    if (key !== "place" && a[key] !== b[key]) return false;
    count++;
  }
  for (const _key in b) count--;
  return count === 0;
}
