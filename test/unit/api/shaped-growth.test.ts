import { expect, test } from "vitest";
import { createShapedGrowth } from "../../../agent/api/shaped-growth.ts";
import type { ShapedCounter } from "../../../agent/control/agent-calls.ts";

const counter = (client: string, packets: number, bytes: number): ShapedCounter => ({
  ...{ client, host: `host of ${client}`, packets, bytes },
});

test("what the kernel held before is not told, and what comes after it is, once", () => {
  const growth = createShapedGrowth();
  expect(growth.take(null)).toEqual([]);
  expect(growth.take([counter("a", 10, 1_000)])).toEqual([]);
  expect(growth.take([counter("a", 12, 1_300), counter("b", 1, 60)])).toEqual([
    counter("a", 2, 300),
    counter("b", 1, 60),
  ]);
  expect(growth.take([counter("a", 12, 1_300), counter("b", 1, 60)])).toEqual([]);
});

test("an answer that is missing changes nothing", () => {
  const growth = createShapedGrowth();
  growth.take([]);
  growth.take([counter("a", 5, 500)]);
  expect(growth.take(null)).toEqual([]);
  expect(growth.take([counter("a", 6, 600)])).toEqual([counter("a", 1, 100)]);
});

test("a client that the kernel forgot, and tables that began anew, count from zero", () => {
  const growth = createShapedGrowth();
  growth.take([counter("a", 50, 5_000), counter("b", 50, 5_000)]);
  expect(growth.take([counter("b", 2, 200)])).toEqual([counter("b", 2, 200)]);
  expect(growth.take([counter("a", 3, 300), counter("b", 2, 200)])).toEqual([counter("a", 3, 300)]);
});
