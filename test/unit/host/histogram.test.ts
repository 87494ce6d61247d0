import { expect, test } from "vitest";
import { createHistogram } from "../../../agent/host/histogram.ts";

test("what took up to a bound is in its bucket, what took longer than all in the last", () => {
  const histogram = createHistogram();
  for (const seconds of [0.0001, 0.0002, 0.0003, 10, 11]) histogram.note(seconds);
  const { boundsS, counts, sumS } = histogram.read();
  const count = (boundS: number): number | undefined => counts[boundsS.indexOf(boundS)];
  expect([count(0.0001), count(0.000_25), count(0.0005), count(10)]).toEqual([1, 1, 1, 1]);
  expect(counts.at(-1)).toBe(1);
  expect(counts).toHaveLength(boundsS.length + 1);
  expect(sumS).toBeCloseTo(21.0006, 9);
});
