/** Returns the first `max` of items in their order, without sorting those that are left out. */
export function selectFirst<Item>(
  items: readonly Item[],
  max: number,
  compare: (a: Item, b: Item) => number,
): readonly Item[] {
  if (items.length <= max) return [...items].sort(compare);
  // A heap with the last of those that are in on top: most of the others are compared with that one alone.
  const heap: Item[] = [];
  for (const item of items) {
    const [top] = heap;
    if (heap.length < max) lift(heap, item, compare);
    else if (top !== undefined && compare(item, top) < 0) sink(heap, item, compare);
  }
  return heap.sort(compare);
}

/** Adds an item to a heap. */
function lift<Item>(heap: Item[], item: Item, compare: (a: Item, b: Item) => number): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (compare(item, heap[above] as Item) <= 0) break;
    heap[at] = heap[above] as Item;
    at = above;
  }
  heap[at] = item;
}

/** Puts an item in the place of the top of a heap. */
function sink<Item>(heap: Item[], item: Item, compare: (a: Item, b: Item) => number): void {
  let at = 0;
  for (;;) {
    const left = 2 * at + 1;
    if (left >= heap.length) break;
    const right = left + 1;
    const below = right < heap.length && compare(heap[right] as Item, heap[left] as Item) > 0 ? right : left;
    if (compare(heap[below] as Item, item) <= 0) break;
    heap[at] = heap[below] as Item;
    at = below;
  }
  heap[at] = item;
}
