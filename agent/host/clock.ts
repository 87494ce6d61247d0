import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";

/** Returns the wall-clock time in milliseconds since the epoch. */
export function nowMs(): number {
  return Date.now();
}

/** Returns a monotonic time in milliseconds, for durations. */
export function monotonicMs(): number {
  return performance.now();
}

/**
 * Returns the time since boot in milliseconds, suspend included, the same for every process of the machine
 * (CLOCK_BOOTTIME by /proc/uptime, proc(5); in steps of 10 ms).
 */
export function bootTimeMs(): number {
  const [seconds = ""] = readFileSync("/proc/uptime", "latin1").split(" ");
  return Math.round(Number(seconds) * 1000);
}

/** Returns what is another text after each boot. */
export async function readBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).trim();
}

/** Resolves after a time; rejects at once with the signal's reason when it aborts. */
export async function sleepMs(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {});
}

const TURN_MS = 20;

/** Returns a function for long loops: now and then it lets everything else that waits have its turn first. */
export function createTurns(): () => Promise<void> | undefined {
  let sinceMs = monotonicMs();
  return () => {
    if (monotonicMs() - sinceMs < TURN_MS) return undefined;
    return nextTurn().then(() => {
      sinceMs = monotonicMs();
    });
  };
}
