import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../agent/errors.ts";
import { firstPollDelayMs, freshPace, nextPace, type PollPace } from "../../../agent/source/poll-pace.ts";

const down = new AgentError("SOURCE_UNREACHABLE", "down");
const limited = (retryAfterMs: number): AgentError =>
  new AgentError("SOURCE_HTTP", "429", { details: { status: 429, retryAfterMs } });

describe("GD1 a server in trouble is asked less and less often", () => {
  test("the pause is doubled up to 5 minutes, less a random half, and forgotten after a success", () => {
    let pace = freshPace;
    const pauses = Array.from({ length: 12 }, () => {
      pace = nextPace(pace, down, 1_000, 0);
      return (pace.notBeforeMs - 1_000) / 1_000;
    });
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    expect(nextPace(pace, down, 0, 1).notBeforeMs).toBe(150_000);
    expect(nextPace(pace, null, 0, 0)).toEqual(freshPace);
    expect(nextPace(pace, new AgentError("HOST_FILE", "x"), 0, 0)).toEqual(freshPace);
  });

  test("what the server asks for is kept, and a tenth more at most", () => {
    expect(nextPace(freshPace, limited(90_000), 0, 0).notBeforeMs).toBe(90_000);
    expect(nextPace(freshPace, limited(90_000), 0, 1).notBeforeMs).toBeCloseTo(99_000);
    fc.assert(
      fc.property(
        fc.nat({ max: 86_400_000 }),
        fc.nat({ max: 100 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (ms, failures, random) => {
          const { notBeforeMs } = nextPace({ failures, notBeforeMs: 0 }, limited(ms), 0, random);
          expect(notBeforeMs).toBeGreaterThanOrEqual(ms);
          expect(notBeforeMs).toBeLessThanOrEqual(Math.max(300_000, ms * 1.1 + 1));
        },
      ),
    );
  });
});

/** A forge that answers so many requests a minute for one token, and asks all others to come back when the minute is over. */
function simulate(gateways: number, perMinute: number, minutes: number, isDown: (second: number) => boolean) {
  let seed = 7;
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const jitterMs = 5_000;
  const scheduleMs = 30_000;
  const paces: PollPace[] = Array.from({ length: gateways }, () => freshPace);
  const lastGoodMs = new Array<number>(gateways).fill(0);
  const perSecond = new Array<number>(minutes * 60 + 10).fill(0);
  const events = Array.from({ length: gateways }, (_, index) => ({
    at: firstPollDelayMs(`gw-${index}`, jitterMs),
    index,
  }));
  for (let slot = scheduleMs; slot < minutes * 60_000; slot += scheduleMs) {
    for (let index = 0; index < gateways; index++) events.push({ at: slot + random() * jitterMs, index });
  }
  let minute = -1;
  let used = 0;
  for (const { at, index } of events.sort((a, b) => a.at - b.at)) {
    const pace = paces[index] ?? freshPace;
    if (at < pace.notBeforeMs) continue;
    const second = Math.floor(at / 1_000);
    perSecond[second] = (perSecond[second] ?? 0) + 1;
    if (Math.floor(at / 60_000) !== minute) [minute, used] = [Math.floor(at / 60_000), 0];
    used += 1;
    const error = isDown(second) ? down : used > perMinute ? limited((minute + 1) * 60_000 - at) : null;
    paces[index] = nextPace(pace, error, at, random());
    if (error === null) lastGoodMs[index] = at;
  }
  const inMinute = (index: number): number => perSecond.slice(index * 60, index * 60 + 60).reduce((a, b) => a + b, 0);
  return { perSecond, inMinute, lastGoodMs };
}

describe("GD15 500 gateways that start together", () => {
  test("come spread over the jitter, evenly, each at its own time", () => {
    const { perSecond } = simulate(500, 10_000, 1, () => false);
    expect(perSecond.slice(0, 5).reduce((a, b) => a + b, 0)).toBe(500);
    for (const requests of perSecond.slice(0, 5)) expect(requests).toBeLessThan(140);
    expect(firstPollDelayMs("gw-1", 5_000)).toBe(firstPollDelayMs("gw-1", 5_000));
    expect(firstPollDelayMs("gw-1", 0)).toBe(0);
  });

  test("with a token for 600 requests a minute: one refusal a minute each at most, and every one gets through", () => {
    const { inMinute, lastGoodMs } = simulate(500, 600, 30, () => false);
    for (let minute = 1; minute < 30; minute++) expect(inMinute(minute)).toBeLessThanOrEqual(600 + 500);
    expect(Math.min(...lastGoodMs)).toBeGreaterThan(25 * 60_000);
  });

  test("after an outage of 20 minutes have asked the server a quarter as often, and are all back within 6 minutes", () => {
    const { inMinute, lastGoodMs } = simulate(500, 10_000, 40, (second) => second >= 300 && second < 1_500);
    expect(inMinute(2)).toBe(1_000);
    expect(inMinute(20)).toBeLessThan(250);
    expect(Math.min(...lastGoodMs)).toBeGreaterThan(31 * 60_000);
  });
});
