import { compareTexts } from "./compare-texts.ts";
import type { WindowDocument } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import { DAYS, type Hours } from "./hours.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { NamePattern, NameWindow, Window } from "./policy.ts";
import { isTimeZone } from "./wall-time.ts";

/** Returns a `time_window`, or null when there is none or it is wrong, which goes to the log. */
export function readWindow(written: WindowDocument | undefined, pointer: string, log: IssueLog): Window | null {
  if (written === undefined) return null;
  const hours = hoursOf(written);
  if (hours === null) {
    const message = `${quoteText(written.tz ?? "")} is no time zone`;
    log.error(log.locate(joinPointer(pointer, "tz")), message, TIME_ZONE_REMEDY);
    return null;
  }
  return { ...hours, place: log.locate(pointer, "key") };
}

export const TIME_ZONE_REMEDY = "write a name of the tz database, such as Europe/Berlin or UTC";

/** Returns hours as they are written, or null when their time zone is none. */
export function hoursOf({ days = DAYS, start, end, tz: timeZone = "UTC" }: WindowDocument): Hours | null {
  if (!isTimeZone(timeZone)) return null;
  return {
    days: DAYS.filter((day) => days.includes(day)),
    startS: secondsOf(start),
    endS: secondsOf(end),
    timeZone,
  };
}

/** The schema has accepted the text: `HH:MM` or `HH:MM:SS`. */
function secondsOf(time: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = time.split(":").map(Number);
  return hours * 3600 + minutes * 60 + seconds;
}

/** Returns `domain_time_windows`, sorted by pattern; what is wrong goes to the log. */
export function readNameWindows(
  written: { readonly [name: string]: WindowDocument } | undefined,
  pointer: string,
  log: IssueLog,
): readonly NameWindow[] {
  const found = new Map<string, NameWindow>();
  for (const [text, document] of Object.entries(written ?? {})) {
    const own = joinPointer(pointer, text);
    const place = log.locate(own, "key");
    const parsed = parseDomainPattern(text);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const window = readWindow(document, own, log);
    if (window === null) continue;
    const key = patternText(parsed.value);
    const earlier = found.get(key);
    if (earlier !== undefined) {
      log.error(place, `${quoteText(text)} has hours already (${whereIs(earlier.place, place)})`, "remove one of them");
      continue;
    }
    const { place: _place, ...hours } = window;
    found.set(key, { pattern: parsed.value, hours, place });
  }
  return [...found].sort(([a], [b]) => compareTexts(a, b)).map(([, window]) => window);
}

/**
 * Warns of hours that no listed name has, and of those of one name whose subdomains are open without any: the two that
 * people who wrote them did not mean.
 */
export function lintNameWindows(windows: readonly NameWindow[], listed: readonly NamePattern[], log: IssueLog): void {
  if (windows.length === 0) return;
  const exact = new Set(listed.filter(({ kind }) => kind === "exact").map(({ name }) => name as string));
  const wild = new Set(listed.filter(({ kind }) => kind === "subdomains").map(({ name }) => name as string));
  const withHours = new Set(windows.map(({ pattern }) => patternText(pattern)));
  for (const { pattern, place } of windows) {
    const text = patternText(pattern);
    if (!isListed(pattern, exact, wild)) {
      log.warn(place, `no list contains ${quoteText(text)}, so its hours are unused`, "correct the name, or remove it");
    } else if (pattern.kind === "exact" && wild.has(pattern.name) && !withHours.has(`*.${text}`)) {
      const message = `these hours are those of ${text} alone, and its subdomains are listed too`;
      log.warn(place, message, `write hours for "*.${text}" as well if they are meant`);
    }
  }
}

function isListed({ kind, name }: NamePattern, exact: ReadonlySet<string>, wild: ReadonlySet<string>): boolean {
  if (kind === "exact" ? exact.has(name) : wild.has(name)) return true;
  for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
    if (wild.has(name.slice(dot + 1))) return true;
  }
  if (kind === "exact") return false;
  return [...exact, ...wild].some((other) => other.endsWith(`.${name}`));
}
