import type { EntryDetails } from "./document.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { accept, type Parsed, quoteText, refuse } from "./parsed.ts";
import { DAY_S, daysFromCivil, instantText } from "./wall-time.ts";

/** The kernel counts nanoseconds in 63 bits, which end in 2262. */
const LATEST_YEAR = 2199;
const EARLIEST_YEAR = 2000;

const pattern = /^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?Z)?$/;

/**
 * Returns the instant, in seconds since the epoch, of a text such as `2026-12-31T18:00:00Z`. A day alone means its end
 * in UTC, so that what expires on a day can be used all of that day.
 */
export function parseInstant(text: string): Parsed<number> {
  const remedy = "write a day that there is, such as 2026-12-31, or a time in UTC, such as 2026-12-31T18:00:00Z";
  const match = pattern.exec(text);
  if (match === null) return refuse(`${quoteText(text)} is no day or time`, remedy);
  const [year = 0, month = 0, day = 0, hour, minute = 0, second = 0] = match
    .slice(1)
    .map((part) => (part === undefined ? undefined : Number(part)));
  if (year < EARLIEST_YEAR || year > LATEST_YEAR) {
    return refuse(
      `${quoteText(text)} is not within ${EARLIEST_YEAR} to ${LATEST_YEAR}`,
      "leave it out: without it nothing expires",
    );
  }
  const midnightS = daysFromCivil(year, month, day) * DAY_S;
  const isDay = month >= 1 && month <= 12 && day >= 1 && instantText(midnightS).startsWith(text.slice(0, 10));
  if (!isDay || (hour ?? 0) > 23 || minute > 59 || second > 59) {
    return refuse(`${quoteText(text)} is no day or time`, remedy);
  }
  return accept(hour === undefined ? midnightS + DAY_S : midnightS + hour * 3600 + minute * 60 + second);
}

/** Returns when an entry expires, in seconds since the epoch, or null when it does not; what is wrong goes to the log. */
export function readExpiry({ expires }: EntryDetails, pointer: string, log: IssueLog): number | null {
  if (expires === undefined) return null;
  const parsed = parseInstant(expires);
  if (parsed.ok) return parsed.value;
  log.error(log.locate(joinPointer(pointer, "expires")), parsed.message, parsed.remedy);
  return null;
}
