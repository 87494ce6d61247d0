import type { Hours } from "./hours.ts";
import { buildPatternTable, findNameRules } from "./name-table.ts";
import type { NamePattern, NameWindow } from "./policy.ts";

/** Finds the hours of a name. */
export type FindHours = (name: string) => Hours | null;

/** Returns the way to the hours of names: the most specific pattern counts, and of the same pattern the group's own. */
export function buildWindowTable(
  own: readonly NameWindow[] | undefined,
  everyone: readonly NameWindow[] | undefined,
): FindHours {
  if (own === undefined && everyone === undefined) return () => null;
  // Hours in front win over the same pattern behind.
  const table = buildPatternTable([...(own ?? []), ...(everyone ?? [])], (first) => first);
  return (name) => findNameRules(table, name)[0]?.hours ?? null;
}

/** Returns a name that every name of a pattern, and of no more specific one, is treated like. */
export function sampleOf({ kind, name }: NamePattern): string {
  return kind === "exact" ? name : `*.${name}`;
}
