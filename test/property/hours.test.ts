import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DAYS,
  type Day,
  type Hours,
  holdsAt,
  nextInterval,
  nextOfHours,
  type Schedule,
} from "../../agent/policy/hours.ts";
import {
  DAY_S,
  daysFromCivil,
  firstInstantOf,
  instantText,
  isTimeZone,
  readingAt,
} from "../../agent/policy/wall-time.ts";

const zones = ["UTC", ...Intl.supportedValuesOf("timeZone")];
/** Zones that change their clocks, by half an hour, at midnight, by skipping a day, by a law of this year, or never. */
const oddZones = [
  "Europe/Berlin",
  "America/New_York",
  "Australia/Lord_Howe",
  "America/Havana",
  "Africa/Cairo",
  "Africa/Casablanca",
  "Asia/Kathmandu",
  "Pacific/Apia",
  "Pacific/Chatham",
  "America/Scoresbysund",
  "Asia/Gaza",
  "UTC",
];

/** `HOURS_RUNS=10000 npx vitest run test/property/hours.test.ts` compares that many with the slow way: a minute or two. */
const SLOW_RUNS = Number(process.env["HOURS_RUNS"] ?? 2000);

const formats = new Map(
  [...zones, ...oddZones].map((timeZone) => [
    timeZone,
    new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" }),
  ]),
);

/** What the clock on the wall shows, by another format than the program's, and Date. */
function shownAt(timeZone: string, instantS: number): number {
  const text = formats.get(timeZone)?.format(instantS * 1000);
  if (text === undefined) throw new RangeError(`no format for ${timeZone}`);
  return Date.parse(`${text.replace(" ", "T")}Z`) / 1000;
}

/** The slow way: looks at the last minute of every quarter of an hour, then at each of its minutes. Clocks change at quarters. */
function slowFirstInstant(timeZone: string, reading: number): number {
  let quarter = Math.floor((reading - 27 * 3600) / 900) * 900;
  while (shownAt(timeZone, quarter + 14 * 60) < reading) quarter += 900;
  for (let t = quarter; ; t += 60) if (shownAt(timeZone, t) >= reading) return t;
}

function slowHolds(hours: Hours, atS: number): boolean {
  const midnight = Math.floor(shownAt(hours.timeZone, atS) / DAY_S) * DAY_S;
  return [-2, -1, 0, 1].some((step) => {
    const day = midnight + step * DAY_S;
    const name = DAYS[(new Date(day * 1000).getUTCDay() + 6) % 7];
    if (name === undefined || !hours.days.includes(name)) return false;
    const end = day + hours.endS + (hours.endS > hours.startS ? 0 : DAY_S);
    return slowFirstInstant(hours.timeZone, day + hours.startS) <= atS && atS < slowFirstInstant(hours.timeZone, end);
  });
}

const instant = fc
  .integer({ min: Date.UTC(2011, 0, 1) / 60_000, max: Date.UTC(2037, 0, 1) / 60_000 })
  .map((m) => m * 60);
const minuteOfDay = fc.integer({ min: 0, max: 1439 }).map((minute) => minute * 60);
const days = fc.subarray([...DAYS], { minLength: 1 }) as fc.Arbitrary<Day[]>;
const hoursIn = (zone: fc.Arbitrary<string>): fc.Arbitrary<Hours> =>
  fc.record({ days, startS: minuteOfDay, endS: minuteOfDay, timeZone: zone });

/** Instants within a day of a change of clocks, where everything that can go wrong does. */
const nearChange = fc
  .tuple(fc.constantFrom(...oddZones), fc.integer({ min: 2011, max: 2036 }), fc.integer({ min: 0, max: 1 }))
  .chain(([zone, year, which]) => {
    const start = Date.UTC(year, which * 6, 1) / 1000;
    let at = start;
    const first = readingAt(zone, start) - start;
    for (let t = start; t < start + 184 * DAY_S; t += DAY_S) {
      if (readingAt(zone, t) - t === first) continue;
      at = t;
      break;
    }
    const minutes = fc.integer({ min: -2 * 1440, max: 1440 });
    return fc.record({ zone: fc.constant(zone), atS: minutes.map((minute) => at + minute * 60) });
  });

describe("readings of clocks", () => {
  test("every zone of the tz database shows what Date and Intl show, at 10,000 instants", () => {
    let asked = 0;
    fc.assert(
      fc.property(fc.constantFrom(...zones), instant, (zone, atS) => {
        asked += 1;
        expect(readingAt(zone, atS)).toBe(shownAt(zone, atS));
        expect(instantText(atS)).toBe(new Date(atS * 1000).toISOString().replace(".000", ""));
      }),
      { numRuns: 10_000 },
    );
    expect(asked).toBeGreaterThanOrEqual(10_000);
  });

  test("a day's number is that of Date", () => {
    fc.assert(
      fc.property(fc.integer({ min: -200_000, max: 200_000 }), (day) => {
        const date = new Date(day * DAY_S * 1000);
        expect(daysFromCivil(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate())).toBe(day);
      }),
    );
  });

  test("the first instant of a reading is the one that the slow way finds, near changes of clocks", () => {
    fc.assert(
      fc.property(nearChange, ({ zone, atS }) => {
        const reading = readingAt(zone, atS);
        expect(firstInstantOf(zone, reading)).toBe(slowFirstInstant(zone, reading));
      }),
      { numRuns: 200 },
    );
  });

  test("all zones are time zones, and offsets and nonsense are not", () => {
    expect(zones.length).toBeGreaterThan(300);
    expect(zones.filter((zone) => !isTimeZone(zone))).toEqual([]);
    expect(["+01:00", "+0100", "-5", "", "Mars/Olympus", "Europe"].filter(isTimeZone)).toEqual([]);
  });
});

describe("hours", () => {
  test("hold exactly when the slow way says so, at any time in any zone and near changes of clocks", () => {
    const anywhere = fc.record({ zone: fc.constantFrom(...zones), atS: instant });
    fc.assert(
      fc.property(fc.oneof(anywhere, nearChange), hoursIn(fc.constant("UTC")), ({ zone, atS }, written) => {
        const hours: Hours = { ...written, timeZone: zone };
        const { fromS, untilS } = nextOfHours(hours, atS);
        expect(fromS <= atS).toBe(slowHolds(hours, atS));
        expect(untilS).toBeGreaterThan(atS);
      }),
      { numRuns: SLOW_RUNS },
    );
  });

  test("inside of the interval they hold, before and after they do not, and nothing depends on what was asked before", () => {
    const hoursOf = hoursIn(fc.constantFrom(...zones));
    fc.assert(
      fc.property(hoursOf, instant, (hours, atS) => {
        const { fromS, untilS } = nextOfHours(hours, atS);
        const fresh = (t: number): boolean => nextOfHours({ ...hours }, t).fromS <= t;
        expect(fresh(atS)).toBe(fromS <= atS);
        expect(fresh(fromS)).toBe(true);
        if (untilS !== Number.POSITIVE_INFINITY) {
          expect(fresh(untilS - 1)).toBe(true);
          expect(fresh(untilS)).toBe(false);
          if (fromS > atS) expect(fresh(fromS - 1)).toBe(false);
        }
        // Going back in time finds what a new object finds.
        expect(nextOfHours(hours, atS - DAY_S)).toEqual(nextOfHours({ ...hours }, atS - DAY_S));
      }),
      { numRuns: 2000 },
    );
  });

  test("a schedule holds when all of its hours do, and not before or after its bounds", () => {
    const zone = fc.constantFrom(...zones);
    const bound = fc.option(instant);
    fc.assert(
      fc.property(fc.array(hoursIn(zone), { maxLength: 2 }), bound, bound, instant, (windows, fromS, untilS, atS) => {
        const schedule: Schedule = { windows, fromS, untilS };
        const all = windows.every((hours) => nextOfHours({ ...hours }, atS).fromS <= atS);
        const isBound = (fromS === null || fromS <= atS) && (untilS === null || atS < untilS);
        expect(holdsAt(schedule, atS)).toBe(all && isBound);
        const next = nextInterval(schedule, atS);
        if (next === null || next.fromS <= atS) return;
        expect(holdsAt(schedule, next.fromS)).toBe(true);
        expect(holdsAt(schedule, next.fromS - 1)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });
});
