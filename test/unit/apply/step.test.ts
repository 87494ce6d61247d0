import { expect, test } from "vitest";
import { createStepTimes, plainStep, timeSteps } from "../../../agent/apply/step.ts";
import { sleepMs } from "../../../agent/host/clock.ts";

const silent = { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} };

test("each step is timed once each time, also when it fails", async () => {
  const times = createStepTimes();
  const step = timeSteps(plainStep, times, silent as unknown as Parameters<typeof timeSteps>[2]);
  expect(times.read()).toEqual({});
  expect(await step("1-stage", async () => 7)).toBe(7);
  await expect(step("1-stage", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  await step("6-probe", () => sleepMs(30));
  const { "1-stage": stage, "6-probe": probe, ...others } = times.read();
  expect(others).toEqual({});
  const total = (counts: readonly number[] | undefined): number =>
    (counts ?? []).reduce((sum, count) => sum + count, 0);
  expect(total(stage?.counts)).toBe(2);
  expect(total(probe?.counts)).toBe(1);
  expect(probe?.sumS).toBeGreaterThanOrEqual(0.029);
  expect(probe?.counts.slice(0, (probe?.boundsS.indexOf(0.025) ?? 0) + 1)).toEqual([0, 0, 0, 0, 0]);
  expect(probe?.counts).toHaveLength((probe?.boundsS.length ?? 0) + 1);
});
