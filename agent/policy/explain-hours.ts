import type { Decision } from "./decide.ts";
import { hoursText, nextInterval, type Schedule } from "./hours.ts";
import { scheduleOfAny } from "./schedules.ts";
import { instantText } from "./wall-time.ts";

/** What hours have to do with a decision, as people and programs read it; null where there is nothing to say. */
export interface HoursNote {
  readonly hours: readonly string[];
  readonly opensAt: string | null;
  readonly closesAt: string | null;
  readonly expiresAt: string | null;
}

/** Returns what hours and expiry have to do with a decision that was made at an instant; null: nothing. */
export function noteHours(decision: Decision, nowS: number): HoursNote | null {
  if (decision.verdict === "deny") return decision.schedule === null ? null : describe(decision.schedule, nowS);
  const schedule = scheduleOfAny(decision.basis);
  return schedule === null ? null : describe(schedule, nowS);
}

function describe({ windows, fromS, untilS }: Schedule, nowS: number): HoursNote {
  const next = nextInterval({ windows, fromS, untilS }, nowS);
  const isOpen = next !== null && next.fromS <= nowS;
  return {
    hours: windows.map(hoursText),
    opensAt: next === null || isOpen ? null : instantText(next.fromS),
    closesAt: next === null || !isOpen || !Number.isFinite(next.untilS) ? null : instantText(next.untilS),
    expiresAt: untilS === null ? null : instantText(untilS),
  };
}

/** Returns a note in lines for people. */
export function hoursLines({ hours, opensAt, closesAt, expiresAt }: HoursNote): readonly string[] {
  return [
    ...(hours.length === 0 ? [] : [`  hours: ${hours.join(" and ")}`]),
    ...(opensAt === null ? [] : [`  opens at: ${opensAt}`]),
    ...(closesAt === null ? [] : [`  closes at: ${closesAt}`]),
    ...(expiresAt === null ? [] : [`  expires at: ${expiresAt}`]),
  ];
}
