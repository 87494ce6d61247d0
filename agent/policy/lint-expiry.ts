import { hasExpiring } from "./expiring.ts";
import { patternText } from "./pattern-text.ts";
import type { Issue, Policy, PolicyEntry } from "./policy.ts";
import { DAY_S, instantText } from "./wall-time.ts";

/** How long before it happens people are warned of what expires. */
const WARNED_DAYS = 7;

/** Returns a warning for each entry that has expired at an instant, or will within a week. An entry counts once, whoever inherits it. */
export function lintExpiry(policy: Policy, nowS: number): readonly Issue[] {
  const issues = new Map<string, Issue>();
  for (const entry of entriesOf(policy)) {
    const { expiresS, place } = entry;
    if (expiresS === undefined || expiresS - nowS > WARNED_DAYS * DAY_S) continue;
    const isDenial = !("ports" in entry);
    const what = `${"pattern" in entry ? patternText(entry.pattern) : entry.network}`;
    const message =
      expiresS <= nowS
        ? `${what} expired at ${instantText(expiresS)}: it ${isDenial ? "denies" : "opens"} nothing any more`
        : `${what} expires at ${instantText(expiresS)}`;
    const remedy = expiresS <= nowS ? "remove it, or write a later day" : "write a later day if it is still needed";
    const key = `${place.file} ${place.pointer} ${what}`;
    issues.set(key, { severity: "warning", code: "POLICY_INVALID", place, message, remedy });
  }
  return [...issues.values()];
}

function* entriesOf(policy: Policy): Generator<PolicyEntry> {
  const denied = [policy, ...policy.groups].flatMap(({ deny }) => deny ?? []);
  for (const { names, networks } of [...denied, ...policy.groups]) {
    if (hasExpiring(names)) yield* names;
    if (hasExpiring(networks)) yield* networks;
  }
}
