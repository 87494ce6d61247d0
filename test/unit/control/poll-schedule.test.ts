import { afterEach, expect, test, vi } from "vitest";
import { parsePollSchedule, workOnSchedule } from "../../../agent/control/poll-schedule.ts";

afterEach(() => {
  vi.useRealTimers();
});

/** A machine whose clock is set while somebody sleeps, and whose work is noted by the time that does not jump. */
function machine(atMs: number, everyMs: number) {
  const stop = new AbortController();
  const world = { wallMs: atMs, monotonicMs: 0, asked: 0 };
  const changes: { readonly atMs: number; readonly byMs: number }[] = [];
  const done: number[] = [];
  const schedule = {
    nextMs: () => {
      world.asked += 1;
      return (Math.floor(world.wallMs / everyMs) + 1) * everyMs;
    },
  };
  const clock = {
    nowMs: () => world.wallMs,
    sleepMs: async (ms: number, signal: AbortSignal) => {
      await Promise.resolve();
      signal.throwIfAborted();
      world.wallMs += ms;
      world.monotonicMs += ms;
      while ((changes[0]?.atMs ?? Number.POSITIVE_INFINITY) <= world.monotonicMs)
        world.wallMs += changes.shift()?.byMs ?? 0;
    },
    random: () => 0.5,
  };
  const run = async (count: number, tookMs = 0, jitterMs = 0): Promise<readonly number[]> => {
    await workOnSchedule(
      schedule,
      jitterMs,
      async () => {
        done.push(world.monotonicMs);
        world.wallMs += tookMs;
        world.monotonicMs += tookMs;
        if (done.length === count) stop.abort(new Error("enough"));
      },
      stop.signal,
      clock,
    );
    return done;
  };
  return { world, changes, run };
}

test("the work is done each time it is due", async () => {
  const { run } = machine(500, 10_000);
  expect(await run(3)).toEqual([9_500, 19_500, 29_500]);
});

test("what comes due during the work is done once, after it", async () => {
  const { run } = machine(0, 10_000);
  expect(await run(3, 25_000)).toEqual([10_000, 40_000, 70_000]);
});

test("up to the jitter later", async () => {
  const { run } = machine(0, 10_000);
  expect(await run(2, 0, 4_000)).toEqual([12_000, 22_000]);
});

test("a clock that is put forward by years is asked once for all that it skipped", async () => {
  const { world, changes, run } = machine(0, 10_000);
  changes.push({ atMs: 3_000, byMs: 50 * 365 * 86_400_000 });
  expect(await run(3)).toEqual([3_000, 10_000, 20_000]);
  expect(world.asked).toBe(3);
});

test("a clock that is put back by an hour does not keep the work waiting for an hour", async () => {
  const { changes, run } = machine(3_600_000, 10_000);
  changes.push({ atMs: 3_000, byMs: -3_600_000 });
  expect(await run(2)).toEqual([10_000, 20_000]);
});

test("a failure of the work is told", async () => {
  const clock = { nowMs: () => 1, sleepMs: async () => {}, random: () => 0 };
  const work = async (): Promise<void> => {
    throw new Error("broken");
  };
  const signal = new AbortController().signal;
  await expect(workOnSchedule({ nextMs: () => 0 }, 0, work, signal, clock)).rejects.toThrow("broken");
});

test.each([
  ["*/30 * * * * *", "2026-03-04T05:06:07Z", "2026-03-04T05:06:30Z"],
  ["*/5 * * * *", "2026-03-04T05:06:07Z", "2026-03-04T05:10:00Z"],
  ["0 3 * * *", "2026-03-04T05:06:07Z", "2026-03-05T03:00:00Z"],
])("%s after %s is due at %s", (expression, now, due) => {
  vi.useFakeTimers({ now: new Date(now), toFake: ["Date"] });
  expect(parsePollSchedule(expression)?.nextMs()).toBe(Date.parse(due));
});

test("what is no cron expression is none", () => {
  expect(parsePollSchedule("every minute")).toBeNull();
});
