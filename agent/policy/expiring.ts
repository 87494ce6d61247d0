import type { PolicyEntry } from "./policy.ts";

const known = new WeakMap<readonly PolicyEntry[], boolean>();

/** Returns whether any entry of a list expires. A list is looked through once, for it may be long and is never changed. */
export function hasExpiring(entries: readonly PolicyEntry[]): boolean {
  const found = known.get(entries) ?? entries.some(({ expiresS }) => expiresS !== undefined);
  known.set(entries, found);
  return found;
}

/** Notes of a list that none of its entries expires, so that nobody looks through it. */
export function noteLasting(entries: readonly PolicyEntry[]): void {
  known.set(entries, false);
}
