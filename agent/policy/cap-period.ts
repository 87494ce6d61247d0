import type { CapPeriod } from "./policy.ts";

const lengthsMs: Readonly<Record<CapPeriod, number>> = {
  second: 1000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

/** Returns when the calendar period of UTC that holds a moment began; both in milliseconds since 1970. */
export function periodStartMs(period: CapPeriod, nowMs: number): number {
  // Unix time has no leap seconds, so every period of UTC begins at a multiple of its length.
  return Math.floor(nowMs / lengthsMs[period]) * lengthsMs[period];
}

/** Returns when a period that began at a moment ends and the next one begins, in milliseconds since 1970. */
export function periodEndMs(period: CapPeriod, startMs: number): number {
  return startMs + lengthsMs[period];
}
