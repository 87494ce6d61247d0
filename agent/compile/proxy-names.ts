import type { NamePattern, Place } from "../policy/policy.ts";
import { nameToken, refuseRule } from "./tokens.ts";

/** The proxy looks a name's parents up at each of these lengths, so that one rule covers a wildcard at any depth. */
export const SUFFIX_LABELS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/**
 * Returns how the proxy's maps call a pattern: `name`, or `name*` for all below it.
 * @throws AgentError POLICY_INVALID for a wildcard with more labels than the proxy looks up.
 */
export function nameKey({ pattern, place }: { readonly pattern: NamePattern; readonly place: Place }): string {
  const name = nameToken(pattern.name);
  if (pattern.kind === "exact") return name;
  const labels = name.split(".").length;
  if (SUFFIX_LABELS.includes(labels)) return `${name}*`;
  throw refuseRule(
    place,
    `the wildcard is over a name of ${labels} labels; in SNI mode it may have at most ${SUFFIX_LABELS.at(-1)}`,
    "list the names below it, or put the wildcard higher",
  );
}
