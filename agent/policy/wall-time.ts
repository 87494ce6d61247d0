/**
 * Wall clocks of time zones, by the tz database that comes with Intl. Instants are seconds since the epoch; a *reading*
 * is what a clock on the wall shows, as seconds since 1970-01-01 00:00 of that clock.
 */

export const DAY_S = 86_400;

/** No zone has ever been further from UTC. */
const MAX_OFFSET_S = 16 * 3600;

const formats = new Map<string, Intl.DateTimeFormat>();

/** Returns whether a text names a time zone of the tz database, such as `Europe/Berlin` or `UTC`. Offsets are none. */
export function isTimeZone(text: string): boolean {
  if (!/^[A-Za-z]/.test(text)) return false;
  try {
    formatOf(text);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const known = formats.get(timeZone);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    calendar: "gregory",
    numberingSystem: "latn",
    hourCycle: "h23",
    era: "short",
    ...{ year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" },
  });
  formats.set(timeZone, format);
  return format;
}

/** Returns what clocks of a zone show at an instant. @throws RangeError for an unknown zone or an instant out of all bounds. */
export function readingAt(timeZone: string, instantS: number): number {
  if (timeZone === "UTC") return instantS;
  const whole = Math.floor(instantS);
  const part: { [type: string]: string } = {};
  for (const { type, value } of formatOf(timeZone).formatToParts(whole * 1000)) part[type] = value;
  const days = daysFromCivil(Number(part["year"]), Number(part["month"]), Number(part["day"]));
  const seconds = Number(part["hour"]) * 3600 + Number(part["minute"]) * 60 + Number(part["second"]);
  return days * DAY_S + seconds + (instantS - whole);
}

/** Returns the days from 1970-01-01 to a day of the Gregorian calendar. */
export function daysFromCivil(year: number, month: number, day: number): number {
  // Years begin in March, so that the day that some lack is the last one.
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/**
 * Returns the first instant at which clocks of a zone show a reading or a later one. When clocks are put forward over it,
 * that is the moment of doing so; when they are put back and show it twice, the first time.
 */
export function firstInstantOf(timeZone: string, reading: number): number {
  if (timeZone === "UTC") return reading;
  let low = reading - MAX_OFFSET_S;
  let high = reading + MAX_OFFSET_S;
  const before = readingAt(timeZone, low) - low;
  const after = readingAt(timeZone, high) - high;
  if (before === after) return reading - before;
  // Clocks are changed in between, once: no zone changes them twice in a day.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (readingAt(timeZone, middle) - middle === before) low = middle;
    else high = middle;
  }
  return reading - before < high ? reading - before : Math.max(high, reading - after);
}

/** Returns an instant as people read it: `2026-11-26T08:00:00Z`. */
export function instantText(instantS: number): string {
  const days = Math.floor(instantS / DAY_S);
  const { year, month, day } = civilFromDays(days);
  const two = (value: number): string => String(value).padStart(2, "0");
  const left = Math.floor(instantS) - days * DAY_S;
  const time = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60].map(two).join(":");
  return `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}T${time}Z`;
}

function civilFromDays(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const leapDays = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}
