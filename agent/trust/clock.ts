/** What a gateway knows of the time that its wall clock cannot take back. */
export interface ClockState {
  /** A time that has certainly passed, in milliseconds since the epoch; 0: none is known. */
  readonly passedMs: number;
  /** How long the process has known it, in milliseconds by a clock that never jumps. */
  readonly elapsedMs: number;
  readonly wallMs: number;
}

/**
 * Returns the time by which keys and freshness are judged: the wall clock's, unless that is behind what has passed. So a
 * clock that is set back, or starts in 1970, revives no key and no freshness.
 */
export function judgedTime({ passedMs, elapsedMs, wallMs }: ClockState): number {
  return Math.max(wallMs, passedMs + elapsedMs);
}

/** Returns how far the wall clock is behind what has passed, in milliseconds; 0 when it is not. */
export function clockBehindMs({ passedMs, elapsedMs, wallMs }: ClockState): number {
  return Math.max(0, passedMs + elapsedMs - wallMs);
}

/**
 * Returns what to remember as passed. It grows by at most twice the time that really went by: a clock that jumps ahead
 * by years must not be believed for ever once it has been put right.
 */
export function nextPassed({ passedMs, elapsedMs, wallMs }: ClockState): number {
  return Math.max(passedMs + elapsedMs, Math.min(wallMs, passedMs + 2 * elapsedMs));
}
