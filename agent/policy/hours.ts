import { DAY_S, firstInstantOf, instantText, readingAt } from "./wall-time.ts";

/** Days of the week as they are written, in their order. */
export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Day = (typeof DAYS)[number];

/**
 * Hours of the week by the clocks of one place: on each of the days from `startS` to `endS`, in seconds since midnight.
 * When the end is not after the start, it is the next day's, so that the window belongs to the day on which it starts.
 */
export interface Hours {
  /** In the order of the week; never empty. */
  readonly days: readonly Day[];
  readonly startS: number;
  readonly endS: number;
  readonly timeZone: string;
}

/** When something holds: in all of the hours, from an instant on and until another one; null: no bound. */
export interface Schedule {
  readonly windows: readonly Hours[];
  readonly fromS: number | null;
  readonly untilS: number | null;
}

/** From the first instant to before the second one; the second may be Infinity. */
export interface Interval {
  readonly fromS: number;
  readonly untilS: number;
}

/** What holds without end is written as one span of this many days, and never looked for beyond it. */
const ENDLESS_DAYS = 9;
/** Hours that exclude each other never meet; a week shows that, and another week covers what clock changes do. */
const SEARCH_S = 15 * DAY_S;

/** Hours that no interval of is asked for again and again are computed once until it has ended. */
const cache = new WeakMap<Hours, { readonly sinceS: number; readonly interval: Interval }>();

/**
 * Returns the interval of hours that holds an instant, or the next one after it. Hours that touch, such as whole days
 * in a row, are one interval; hours that never end have an end of Infinity.
 */
export function nextOfHours(hours: Hours, atS: number): Interval {
  const known = cache.get(hours);
  if (known !== undefined && known.sinceS <= atS && atS < known.interval.untilS) return known.interval;
  const interval = findNext(hours, atS);
  cache.set(hours, { sinceS: atS, interval });
  return interval;
}

function findNext(hours: Hours, atS: number): Interval {
  const today = Math.floor(readingAt(hours.timeZone, atS) / DAY_S);
  let fromS: number | null = null;
  let untilS = atS;
  // From two days ago: clocks may skip a day, and yesterday's window may be open still.
  for (let day = today - 2; ; day++) {
    const interval = intervalOfDay(hours, day);
    if (interval === null || interval.untilS <= atS) continue;
    if (fromS !== null && untilS < interval.fromS) return { fromS, untilS };
    fromS ??= interval.fromS;
    untilS = interval.untilS;
    if (untilS - atS > ENDLESS_DAYS * DAY_S) return { fromS, untilS: Number.POSITIVE_INFINITY };
  }
}

/** Day 0 was a Thursday. */
function intervalOfDay({ days, startS, endS, timeZone }: Hours, day: number): Interval | null {
  const name = DAYS[(((day + 3) % 7) + 7) % 7];
  if (name === undefined || !days.includes(name)) return null;
  const lastDay = endS > startS ? day : day + 1;
  const fromS = firstInstantOf(timeZone, day * DAY_S + startS);
  const untilS = firstInstantOf(timeZone, lastDay * DAY_S + endS);
  // Clocks that are put forward may skip all of it.
  return fromS < untilS ? { fromS, untilS } : null;
}

/** Returns the interval of a schedule that holds an instant, or the next one after it; null when there is none. */
export function nextInterval({ windows, fromS, untilS }: Schedule, atS: number): Interval | null {
  const giveUpS = Math.max(atS, fromS ?? 0) + SEARCH_S;
  for (let t = Math.max(atS, fromS ?? Number.NEGATIVE_INFINITY); t < giveUpS; ) {
    let common: Interval = { fromS: fromS ?? Number.NEGATIVE_INFINITY, untilS: untilS ?? Number.POSITIVE_INFINITY };
    if (common.untilS <= t) return null;
    for (const hours of windows) {
      const own = nextOfHours(hours, t);
      common = { fromS: Math.max(common.fromS, own.fromS), untilS: Math.min(common.untilS, own.untilS) };
    }
    if (common.fromS < common.untilS) return common;
    if (untilS !== null && common.fromS >= untilS) return null;
    t = Math.max(t + 1, common.untilS);
  }
  return null;
}

/** Returns whether a schedule holds at an instant. */
export function holdsAt(schedule: Schedule, atS: number): boolean {
  const interval = nextInterval(schedule, atS);
  return interval !== null && interval.fromS <= atS;
}

/** Returns hours as people read them: `mon-fri 08:00-18:00 Europe/Berlin`. */
export function hoursText({ days, startS, endS, timeZone }: Hours): string {
  return `${daysText(days)} ${timeText(startS)}-${timeText(endS)} ${timeZone}`;
}

/** Returns the one text of a schedule: equal texts hold at the same instants. */
export function scheduleText({ windows, fromS, untilS }: Schedule): string {
  const parts = [...new Set(windows.map(hoursText))].sort();
  if (fromS !== null) parts.push(`from ${instantText(fromS)}`);
  if (untilS !== null) parts.push(`until ${instantText(untilS)}`);
  return parts.join(" & ");
}

function daysText(days: readonly Day[]): string {
  const [first] = days;
  const last = days.at(-1);
  if (days.length === DAYS.length) return "daily";
  const isRow =
    first !== undefined && last !== undefined && DAYS.indexOf(last) - DAYS.indexOf(first) === days.length - 1;
  return isRow && days.length > 2 ? `${first}-${last}` : days.join(",");
}

function timeText(secondsOfDay: number): string {
  const parts = [Math.floor(secondsOfDay / 3600), Math.floor(secondsOfDay / 60) % 60, secondsOfDay % 60];
  const texts = parts.map((part) => String(part).padStart(2, "0"));
  return (parts[2] === 0 ? texts.slice(0, 2) : texts).join(":");
}
