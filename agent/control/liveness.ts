import type { Settings } from "../settings/settings.ts";

/** Whether an agent does its work, for whoever starts it again when it does not. */
export interface Liveness {
  /** The look that must never stop has ended, whatever it found. */
  noteLook(): void;
  /** Returns what stands still, or null. */
  findStuck(): string | null;
}

export interface LivenessOptions {
  readonly monotonicMs: () => number;
  /** When the cycle that is under way began; null: none is. */
  readonly cycleSinceMs: () => number | null;
  readonly maxLookMs: number;
  readonly maxCycleMs: number;
}

/** Of the guard of the tables, which looks many times a second: the kernel may be busy with a large ruleset. */
export const MAX_LOOK_MS = 90_000;
const MAX_APPLY_MS = 15 * 60_000;
/** Of each remote: its head, the way back to what was verified, the files. */
const MAX_REQUESTS = 4;

/** Returns how long a cycle can take when everything takes as long as it may: beyond, it waits for something that never comes. */
export function maxCycleMs({ repository, health }: Pick<Settings, "repository" | "health">): number {
  const remotes = 1 + repository.mirrors.length;
  return MAX_REQUESTS * remotes * repository.timeoutMs + 2 * health.confirmTimeoutMs + MAX_APPLY_MS;
}

/**
 * Returns the liveness of an agent: its tables are looked at, and no cycle hangs. That somebody is there to ask shows that
 * the event loop turns.
 */
export function createLiveness(options: LivenessOptions): Liveness {
  let lookedMs = options.monotonicMs();
  return {
    noteLook: () => {
      lookedMs = options.monotonicMs();
    },
    findStuck: () => {
      const nowMs = options.monotonicMs();
      if (nowMs - lookedMs > options.maxLookMs) return `no look at the tables for ${Math.round(nowMs - lookedMs)} ms`;
      const sinceMs = options.cycleSinceMs();
      if (sinceMs === null || nowMs - sinceMs <= options.maxCycleMs) return null;
      return `a cycle has been under way for ${Math.round(nowMs - sinceMs)} ms`;
    },
  };
}
