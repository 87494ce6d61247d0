import { type Interval, nextInterval, type Schedule } from "../policy/hours.ts";
import type { Instant } from "../policy/schedules.ts";

/**
 * The wall clock, believed only forwards. What has closed must not open again because somebody, or a machine that
 * starts without a clock, sets it back: while it shows a time before the latest one that was ever seen, what was open
 * then closes in its time, and nothing opens.
 */
export interface TrustedClock {
  /** Returns the time to judge by. Cheap; every decision asks. */
  now(): Exclude<Instant, null>;
  /** Returns whether the wall clock shows a time before one that has been. */
  isBehind(): boolean;
  /** The latest time that was ever seen, in seconds since the epoch; to be kept over a reboot. */
  latestS(): number;
  /**
   * Returns the intervals of a schedule that are open now or open within a time, in order; while the clock is behind,
   * only the one that was open then and has not ended. With each, how many seconds are left until its end.
   */
  intervalsOf(schedule: Schedule, withinS: number): readonly OpenInterval[];
}

export interface OpenInterval extends Interval {
  readonly leftS: number;
}

export interface ClockSources {
  readonly wallS: () => number;
  readonly monotonicS: () => number;
}

/** A clock that is disciplined may step back by this much; nothing is closed for it. */
const TOLERATED_S = 2;
const MAX_INTERVALS = 64;

/** The latest time before the clock was put back, and when that was by the other clock; null: before this one began. */
interface Jump {
  readonly fromS: number;
  readonly seenAtS: number | null;
}

/** Returns a clock that knows the latest time that was seen before; null: none was. */
export function createTrustedClock({ wallS, monotonicS }: ClockSources, storedS: number | null): TrustedClock {
  let latestS = storedS ?? Number.NEGATIVE_INFINITY;
  let seenAtS: number | null = null;
  let jump: Jump | null = null;
  /** Until then everything is closed that was open when the clock was put back, and has ended since. */
  let closedUntilS = Number.NEGATIVE_INFINITY;

  /** Returns whether the wall clock is behind. */
  const look = (): boolean => {
    const wall = wallS();
    const isBehind = wall < latestS - TOLERATED_S;
    if (isBehind && jump?.fromS !== latestS) jump = { fromS: latestS, seenAtS };
    else if (wall >= latestS) {
      latestS = wall;
      seenAtS = monotonicS();
    }
    return isBehind;
  };
  /** What the time would be if the clock had not been put back. */
  const undisturbedS = ({ fromS, seenAtS: since }: Jump): number | null =>
    since === null ? null : fromS + (monotonicS() - since);
  const now = (): Exclude<Instant, null> => {
    if (!look()) return Math.max(latestS, closedUntilS);
    return (jump === null ? null : undisturbedS(jump)) ?? "unknown";
  };
  /** What was open when the clock was put back ends in its time, and stays closed though the wall shows it open again. */
  const noteEnd = (schedule: Schedule): Interval | null => {
    if (jump === null) return null;
    const [then, at] = [nextInterval(schedule, jump.fromS), undisturbedS(jump)];
    if (then === null || then.fromS > jump.fromS || at === null) return null;
    if (then.untilS > at) return then;
    closedUntilS = Math.max(closedUntilS, then.untilS);
    return null;
  };
  /** How much was left of an interval that was open when the clock was put back, and has not ended since. */
  const leftOf = ({ fromS, untilS }: Interval): number => {
    const at = jump === null ? null : undisturbedS(jump);
    const wasOpen = jump !== null && fromS <= jump.fromS && jump.fromS < untilS;
    return at === null || !wasOpen ? Number.POSITIVE_INFINITY : untilS - at;
  };
  return {
    now,
    isBehind: look,
    latestS: () => {
      look();
      return Math.max(latestS, closedUntilS);
    },
    intervalsOf: (schedule, withinS) => {
      const isBehind = look();
      const open = noteEnd(schedule);
      const at = now();
      if (at === "unknown") return [];
      if (isBehind) return open === null ? [] : [{ ...open, leftS: open.untilS - at }];
      const found: OpenInterval[] = [];
      for (let t = at; found.length < MAX_INTERVALS; ) {
        const next = nextInterval(schedule, t);
        if (next === null || next.fromS > at + withinS) break;
        found.push({ ...next, leftS: Math.min(next.untilS - at, leftOf(next)) });
        if (!Number.isFinite(next.untilS)) break;
        t = next.untilS;
      }
      return found;
    },
  };
}
