import { createHash } from "node:crypto";
import type { AgentError } from "../errors.ts";

/** When the next poll may be, beside its schedule: a server in trouble is asked less and less often. */
export interface PollPace {
  readonly failures: number;
  /** On the caller's clock. */
  readonly notBeforeMs: number;
}

export const freshPace: PollPace = { failures: 0, notBeforeMs: 0 };

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 5 * 60_000;

/**
 * Returns the pace after a poll. A failure of the server, or of the way to it, is followed by a pause of 1 s, doubled each time up
 * to 5 min, of which a random half is left out; when the server asks for a longer one (Retry-After, a used up rate limit), by that
 * one and up to a tenth more, so that gateways do not come back together. Anything else begins anew.
 * @param random from 0 to 1
 */
export function nextPace(pace: PollPace, error: AgentError | null, nowMs: number, random: number): PollPace {
  if (error === null || !error.code.startsWith("SOURCE_")) return freshPace;
  const failures = pace.failures + 1;
  const backoffMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 20)) * (1 - random / 2);
  const asked = error.details["retryAfterMs"];
  const askedMs = typeof asked === "number" ? asked * (1 + random / 10) : 0;
  return { failures, notBeforeMs: nowMs + Math.max(backoffMs, askedMs) };
}

/** Returns how long a gateway waits before its first poll: from 0 to `spreadMs`, always the same for the same name. */
export function firstPollDelayMs(gateway: string, spreadMs: number): number {
  return (createHash("sha256").update(gateway).digest().readUInt32BE(0) / 2 ** 32) * spreadMs;
}
