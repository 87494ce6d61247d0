import { createTask, validate } from "node-cron";

/** When polls are due. */
export interface PollSchedule {
  /** Returns the next time after now, in milliseconds since the epoch. */
  nextMs(): number;
}

/** How the work waits: the wall clock says when it is due, and is looked at again and again, since it may be set. */
export interface PollClock {
  readonly nowMs: () => number;
  /** Rejects when the signal aborts. */
  readonly sleepMs: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
}

/** A clock that was set is noticed within this time. */
const LOOK_MS = 1_000;
/** A step back that is more than a clock's discipline. */
const JUMP_MS = 2_000;

/** Returns the schedule of a cron expression, in UTC; null when it is none. */
export function parsePollSchedule(expression: string): PollSchedule | null {
  if (!validate(expression)) return null;
  // Never started: its own timer does the times that a clock skips one by one, and waits for those that it shows again.
  const task = createTask(expression, () => {}, { timezone: "UTC" });
  return { nextMs: () => task.getNextRuns(1)[0]?.getTime() ?? Number.POSITIVE_INFINITY };
}

/**
 * Does the work whenever it is due, up to `jitterMs` later, until the signal aborts. What comes due during the work, or
 * while the machine sleeps, or is skipped by a clock that is put forward, is done once; when the clock is put back, the
 * next time is asked for anew.
 */
export async function workOnSchedule(
  schedule: PollSchedule,
  jitterMs: number,
  work: () => Promise<void>,
  signal: AbortSignal,
  clock: PollClock,
): Promise<void> {
  try {
    while (!signal.aborted) {
      await untilDue(schedule, signal, clock);
      await clock.sleepMs(clock.random() * jitterMs, signal);
      await work();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function untilDue(schedule: PollSchedule, signal: AbortSignal, { nowMs, sleepMs }: PollClock): Promise<void> {
  let dueMs = schedule.nextMs();
  let seenMs = nowMs();
  while (seenMs < dueMs) {
    await sleepMs(Math.min(dueMs - seenMs, LOOK_MS), signal);
    const wallMs = nowMs();
    if (wallMs < seenMs - JUMP_MS) dueMs = schedule.nextMs();
    seenMs = wallMs;
  }
}
