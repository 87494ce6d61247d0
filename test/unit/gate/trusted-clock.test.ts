import { beforeEach, describe, expect, test } from "vitest";
import type { MarkedSchedule } from "../../../agent/compile/policy-hours.ts";
import type { GateRelease } from "../../../agent/compile/release.ts";
import { createHoursKeeper, type HoursKernel } from "../../../agent/gate/hours-keeper.ts";
import { planWindow, windowText } from "../../../agent/gate/window-plan.ts";
import type { Schedule } from "../../../agent/policy/hours.ts";
import { clockOf, type HandClock } from "../../support/surroundings.ts";

const at = (text: string): number => Date.parse(text) / 1000;
const HOUR = 3600;
/** 2026-11-26 is a Thursday. */
const office: Schedule = {
  windows: [{ days: ["thu", "fri"], startS: 8 * HOUR, endS: 18 * HOUR, timeZone: "UTC" }],
  fromS: null,
  untilS: null,
};
const untilNoon: Schedule = { windows: [], fromS: null, untilS: at("2026-11-26T12:00:00Z") };
const fromNoon: Schedule = { windows: [], fromS: at("2026-11-26T12:00:00Z"), untilS: null };

let hand: HandClock;
beforeEach(() => {
  hand = { wallS: at("2026-11-26T10:00:00Z"), monotonicS: 500 };
});
/** Both clocks go on. */
const pass = (seconds: number): void => {
  hand.wallS += seconds;
  hand.monotonicS += seconds;
};
const spans = (clock: ReturnType<typeof clockOf>, schedule: Schedule, withinS = 0): readonly string[] =>
  clock.intervalsOf(schedule, withinS).map(({ fromS, untilS, leftS }) => {
    const text = (s: number): string => (Number.isFinite(s) ? new Date(s * 1000).toISOString().slice(5, 16) : "-");
    return `${text(fromS)} ${text(untilS)} ${leftS}`;
  });

describe("a clock that goes on", () => {
  test("is believed, and tells what is open and what will be", () => {
    const clock = clockOf(hand);
    expect([clock.now(), clock.isBehind()]).toEqual([at("2026-11-26T10:00:00Z"), false]);
    expect(spans(clock, office, 3 * 86_400)).toEqual([
      `11-26T08:00 11-26T18:00 ${8 * HOUR}`,
      `11-27T08:00 11-27T18:00 ${32 * HOUR}`,
    ]);
    pass(8 * HOUR);
    expect(spans(clock, office)).toEqual([]);
    pass(14 * HOUR);
    expect(spans(clock, office)).toEqual([`11-27T08:00 11-27T18:00 ${10 * HOUR}`]);
  });

  test("may be put forward: what has ended by then is closed, what is open then is open", () => {
    const clock = clockOf(hand);
    hand.wallS = at("2026-11-26T18:00:00Z");
    expect(spans(clock, office)).toEqual([]);
    hand.wallS = at("2026-11-27T17:00:00Z");
    expect(spans(clock, office)).toEqual([`11-27T08:00 11-27T18:00 ${HOUR}`]);
  });

  test("may be put back by a moment without anything being closed", () => {
    const clock = clockOf(hand);
    clock.now();
    hand.wallS -= 1.5;
    expect([clock.now(), clock.isBehind()]).toEqual([at("2026-11-26T10:00:00Z"), false]);
  });
});

describe("WG8: a clock that is put back", () => {
  test("ends what was open in its time, and opens nothing until it has caught up", () => {
    const clock = clockOf(hand);
    clock.now();
    pass(0);
    hand.wallS -= 5 * HOUR;
    expect(clock.isBehind()).toBe(true);
    expect(spans(clock, office, 8 * 86_400)).toEqual([`11-26T08:00 11-26T18:00 ${8 * HOUR}`]);
    pass(4 * HOUR);
    expect(spans(clock, office, 8 * 86_400)).toEqual([`11-26T08:00 11-26T18:00 ${4 * HOUR}`]);
    // Eight hours after 10:00 the wall shows 13:00, and nothing is behind any more.
    pass(4 * HOUR);
    expect(clock.isBehind()).toBe(false);
    expect(spans(clock, office)).toEqual([]);
    expect(clock.now()).toBe(at("2026-11-26T18:00:00Z"));
    // Nor does a new start open it again.
    expect(spans(clockOf(hand, clock.latestS()), office)).toEqual([]);
    pass(19 * HOUR);
    expect(spans(clock, office)).toEqual([`11-27T08:00 11-27T18:00 ${10 * HOUR}`]);
  });

  test("does not open again what has closed", () => {
    const clock = clockOf(hand);
    pass(9 * HOUR);
    expect(spans(clock, office)).toEqual([]);
    hand.wallS -= 3 * HOUR;
    expect(spans(clock, office)).toEqual([]);
    expect(spans(clock, untilNoon)).toEqual([]);
    // 19:00 again, and then the next morning.
    pass(3 * HOUR);
    expect(clock.isBehind()).toBe(false);
    pass(13 * HOUR);
    expect(spans(clock, office)).toEqual([`11-27T08:00 11-27T18:00 ${10 * HOUR}`]);
  });

  test("is not believed after a start either: everything is closed until it has caught up", () => {
    const clock = clockOf(hand, at("2026-11-26T19:00:00Z"));
    expect([clock.now(), clock.isBehind()]).toEqual(["unknown", true]);
    expect([spans(clock, office), spans(clock, untilNoon), spans(clock, fromNoon)]).toEqual([[], [], []]);
    pass(9 * HOUR);
    expect(clock.isBehind()).toBe(false);
    expect(spans(clock, fromNoon)).toEqual(["11-26T12:00 - Infinity"]);
  });

  test("a machine that was asleep finds what ended meanwhile closed", () => {
    const clock = clockOf(hand);
    clock.now();
    // The other clock stands still.
    hand.wallS += 9 * HOUR;
    expect(spans(clock, office)).toEqual([]);
  });
});

const kernelOf = (texts: string[]): HoursKernel => ({
  isFilled: async () => false,
  load: async (text) => {
    texts.push(text);
  },
});

describe("the elements of the kernel's sets", () => {
  const marked = (mark: number, schedule: Schedule): MarkedSchedule => ({ mark, schedule });

  test("have the wall's interval and the time that is left; what has no end has no timeout", () => {
    const clock = clockOf(hand);
    const elements = planWindow([marked(0x9000_0001, office), marked(0x9000_0002, untilNoon)], clock);
    expect(windowText(elements, "window", true).split("\n")).toEqual([
      "flush set inet clawgress window",
      "add element inet clawgress window {",
      `0x90000001 . ${at("2026-11-26T08:00:00Z")}-${at("2026-11-26T18:00:00Z")} timeout 28800s,`,
      `0x90000002 . 0-${at("2026-11-26T12:00:00Z")} timeout 7200s,`,
      `0x90000001 . ${at("2026-11-27T08:00:00Z")}-${at("2026-11-27T18:00:00Z")} timeout 115200s,`,
      `0x90000001 . ${at("2026-12-03T08:00:00Z")}-${at("2026-12-03T18:00:00Z")} timeout 633600s,`,
      `0x90000001 . ${at("2026-12-04T08:00:00Z")}-${at("2026-12-04T18:00:00Z")} timeout 720000s`,
      "}",
      "",
    ]);
    hand.wallS = at("2026-11-26T12:00:00Z");
    expect(windowText(planWindow([marked(0x9000_0003, fromNoon)], clock), "window_b", false)).toBe(
      `add element inet clawgress window_b {\n0x90000003 . ${at("2026-11-26T12:00:00Z")}-9000000000\n}\n`,
    );
  });

  test("many schedules have their next interval each, and no more than 512 in all", () => {
    const clock = clockOf(hand);
    const many = Array.from({ length: 400 }, (_, index) => marked(0x9000_0000 + index, office));
    const elements = planWindow(many, clock);
    expect(elements).toHaveLength(512);
    expect(new Set(elements.map(({ mark }) => mark)).size).toBe(400);
  });

  test("are written once and never prolonged, unless all are written anew", async () => {
    const texts: string[] = [];
    const clock = clockOf(hand);
    const keeper = createHoursKeeper(clock, kernelOf(texts));
    const release = { schedules: { a: marked(0x9000_0001, office) } } as unknown as GateRelease;
    await keeper.add([release]);
    await keeper.add([release]);
    expect(texts).toHaveLength(1);
    // A clock that is put back: what was open keeps what it had left, and the rest goes.
    hand.wallS -= 2 * HOUR;
    await keeper.add([release]);
    await keeper.add([release]);
    // Into the other set, before this one is emptied.
    expect(texts.slice(1)).toEqual([
      `flush set inet clawgress window_b\nadd element inet clawgress window_b {\n0x90000001 . ${at("2026-11-26T08:00:00Z")}-${at("2026-11-26T18:00:00Z")} timeout 28800s\n}\n`,
      "flush set inet clawgress window\n",
    ]);
    // It has caught up: all are there again, and what was open then has what was left of it.
    pass(3 * HOUR);
    await keeper.add([release]);
    expect(texts[4]).toBe("flush set inet clawgress window_b\n");
    expect(texts[3]?.split("\n").slice(0, 4)).toEqual([
      "flush set inet clawgress window",
      "add element inet clawgress window {",
      `0x90000001 . ${at("2026-11-26T08:00:00Z")}-${at("2026-11-26T18:00:00Z")} timeout 18000s,`,
      `0x90000001 . ${at("2026-11-27T08:00:00Z")}-${at("2026-11-27T18:00:00Z")} timeout 111600s,`,
    ]);
    expect([keeper.hasChanged(release), keeper.hasChanged(release)]).toEqual([true, false]);
    pass(10 * HOUR);
    expect([keeper.hasChanged(release), keeper.hasChanged(release)]).toEqual([true, false]);
  });

  test("what could not be written is written the next time", async () => {
    const texts: string[] = [];
    let isBroken = true;
    const { load, isFilled } = kernelOf(texts);
    const keeper = createHoursKeeper(clockOf(hand), {
      isFilled,
      load: async (text) => {
        if (isBroken) throw new Error("no table");
        await load(text);
      },
    });
    const release = { schedules: { a: marked(0x9000_0001, office) } } as unknown as GateRelease;
    await expect(keeper.add([release])).rejects.toThrow("no table");
    isBroken = false;
    await keeper.add([release]);
    expect(texts).toHaveLength(1);
  });

  test.each([
    { filled: ["window"], next: "window_b", old: "window" },
    { filled: ["window_b"], next: "window", old: "window_b" },
    { filled: ["window", "window_b"], next: "window_b", old: "window" },
    { filled: [], next: "window_b", old: "window" },
  ])("after a gate that had left $filled, all are written into $next", async ({ filled, next, old }) => {
    const texts: string[] = [];
    const keeper = createHoursKeeper(clockOf(hand), {
      ...kernelOf(texts),
      isFilled: async (set) => filled.includes(set),
    });
    const release = { schedules: { a: marked(0x9000_0001, office) } } as unknown as GateRelease;
    await keeper.rewrite(release);
    expect(texts[0]).toContain(`flush set inet clawgress ${next}\nadd element inet clawgress ${next} {`);
    expect(texts[1]).toBe(`flush set inet clawgress ${old}\n`);
    hand.wallS += 7 * 24 * HOUR;
    await keeper.add([release]);
    expect(texts[2]).toContain(`add element inet clawgress ${next} {`);
    expect(texts).toHaveLength(3);
  });
});
