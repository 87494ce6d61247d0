import { periodEndMs } from "./cap-period.ts";
import type { CapPeriod } from "./policy.ts";

/** What people are told of a cap in force. */
export interface CapState {
  readonly pattern: string;
  readonly period: CapPeriod;
  readonly startMs: number;
  readonly used: number;
  readonly bytes: number;
}

/** Returns `3.2 MB of 5 MB used until 2026-11-27T00:00:00Z`; what is over the cap was refused. */
export function capStateText({ period, startMs, used, bytes }: CapState): string {
  const until = new Date(periodEndMs(period, startMs)).toISOString().replace(".000Z", "Z");
  return `${bytesText(Math.min(used, bytes))} of ${bytesText(bytes)} used until ${until}`;
}

/** Returns bytes with at most one decimal, in units of 1,000. It is never rounded up to what was not reached. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"] as const;
  let power = 0;
  while (power < units.length - 1 && bytes >= 1000 ** (power + 1)) power += 1;
  return `${Math.floor((bytes / 1000 ** power) * 10) / 10} ${units[power]}`;
}
