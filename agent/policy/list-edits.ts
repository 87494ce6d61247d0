/** Where a list differs from the one before: so many items are gone at one place, and so many are there instead. */
export interface ListEdit {
  /** In the list before. */
  readonly lastAt: number;
  /** In the list now. */
  readonly at: number;
  readonly removed: number;
  readonly added: number;
}

/** Lists that differ in more places are not looked at one by one. */
const MAX_EDITS = 200;
/** So many items may be gone or new at one place, but for the end of the list. */
const MAX_EDIT_ITEMS = 16;

/**
 * Returns in what a list differs from the one before, item by item as the same objects or texts, in order; null when
 * that is too much to be told so. It takes a fraction of a millisecond for 100,000 items.
 */
export function findListEdits<Item>(
  last: readonly Item[],
  next: readonly Item[],
  isSame: (a: Item, b: Item) => boolean = isIdentical,
): readonly ListEdit[] | null {
  const edits: ListEdit[] = [];
  let lastAt = 0;
  let at = 0;
  while (lastAt < last.length && at < next.length) {
    if (isSame(last[lastAt] as Item, next[at] as Item)) {
      lastAt++;
      at++;
      continue;
    }
    const edit = findNextSame(last, lastAt, next, at, isSame);
    if (edit === null || edits.length === MAX_EDITS) return null;
    edits.push(edit);
    lastAt += edit.removed;
    at += edit.added;
  }
  if (lastAt < last.length || at < next.length) {
    edits.push({ lastAt, at, removed: last.length - lastAt, added: next.length - at });
  }
  return edits;
}

function isIdentical(a: unknown, b: unknown): boolean {
  return a === b;
}

function findNextSame<Item>(
  last: readonly Item[],
  lastAt: number,
  next: readonly Item[],
  at: number,
  isSame: (a: Item, b: Item) => boolean,
): ListEdit | null {
  for (let count = 1; count <= MAX_EDIT_ITEMS; count++) {
    for (let removed = 0; removed <= count; removed++) {
      const added = count - removed;
      const isInside = lastAt + removed < last.length && at + added < next.length;
      if (isInside && isSame(last[lastAt + removed] as Item, next[at + added] as Item)) {
        return { lastAt, at, removed, added };
      }
    }
  }
  return null;
}
