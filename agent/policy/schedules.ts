import type { Hours, Schedule } from "./hours.ts";
import type { NameRule, NetworkRule, PortRange } from "./policy.ts";
import { portText } from "./ports.ts";

/** Seconds since the epoch; null: whatever the time; `unknown`: nobody knows it, so that what depends on it is closed. */
export type Instant = number | "unknown" | null;

/** What a decision to allow rests on. */
export interface Basis {
  /** The rules that match and have not expired, the most specific first. */
  readonly rules: readonly (NameRule | NetworkRule)[];
  /** Those that match and have expired. */
  readonly expired: readonly (NameRule | NetworkRule)[];
  /** All of them must be open. */
  readonly windows: readonly Hours[];
}

/** What nothing rests on: an audit, or a reverse name. */
export const NO_BASIS: Basis = { rules: [], expired: [], windows: [] };

/** Returns when a range of ports, as it is written, is open on a basis; null: always. */
export function scheduleOf({ rules, windows }: Basis, range: PortRange): Schedule | null {
  const text = portText(range);
  const giving = rules.filter(({ ports }) => ports.some((written) => portText(written) === text));
  return scheduleWithin(windows, giving);
}

/** Returns when anything at all is open on a basis; null: always. */
export function scheduleOfAny({ rules, windows }: Basis): Schedule | null {
  return scheduleWithin(windows, rules);
}

function scheduleWithin(windows: readonly Hours[], rules: readonly { readonly expiresS?: number }[]): Schedule | null {
  const expiries = rules.map(({ expiresS }) => expiresS ?? Number.POSITIVE_INFINITY);
  const lastS = expiries.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...expiries);
  if (windows.length === 0 && lastS === Number.POSITIVE_INFINITY) return null;
  return { windows, fromS: null, untilS: Number.isFinite(lastS) ? lastS : null };
}
