import type { Random } from "../faults/random.ts";

/** Hours and ends as people could write them, of which it is certain whether they are over while a test runs. */

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

interface Window {
  readonly start: string;
  readonly end: string;
  readonly tz?: string;
}

/** Returns daily hours that are open now and stay so for hours, or that are closed for as long. */
export function randomWindow(random: Random, nowMs: number): Window {
  const [from, to] = random.next() < 0.5 ? [-3, 3] : [3, 21];
  return { start: timeOf(nowMs + from * HOUR_MS), end: timeOf(nowMs + to * HOUR_MS), ...randomZone(random) };
}

/** The clocks of these zones show what those of UTC do. */
function randomZone(random: Random): { readonly tz?: string } {
  const tz = random.pick([null, "UTC", "Etc/GMT"]);
  return tz === null ? {} : { tz };
}

/** In UTC: `08:00`. */
function timeOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(11, 16);
}

/** Returns when an entry ends: in days, or days ago. */
export function randomEnd(random: Random, nowMs: number): string {
  const days = random.pick([-400, -2, 2, 400]);
  return `${new Date(nowMs + days * DAY_MS).toISOString().slice(0, 19)}Z`;
}
