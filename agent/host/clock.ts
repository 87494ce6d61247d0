import { setTimeout as delay } from "node:timers/promises";

/** Returns the wall-clock time in milliseconds since the epoch. */
export function nowMs(): number {
  return Date.now();
}

/** Returns a monotonic time in milliseconds, for durations. */
export function monotonicMs(): number {
  return performance.now();
}

/** Resolves after a time; rejects at once with the signal's reason when it aborts. */
export async function sleepMs(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {});
}
