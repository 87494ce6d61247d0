import { describe, expect, test } from "vitest";
import { createClientTable } from "../../../agent/gate/clients.ts";

describe("queries a second", () => {
  test("a client may ask its bound at once, then as it refills; others are not concerned", () => {
    const table = createClientTable({ maxQueriesPerS: 3, maxNamesPerClient: 2 });
    expect([0, 0, 0, 0].map((nowS) => table.takeQuery("a", nowS))).toEqual([true, true, true, false]);
    expect(table.takeQuery("b", 0)).toBe(true);
    expect(table.takeQuery("a", 0.3)).toBe(false);
    expect(table.takeQuery("a", 0.4)).toBe(true);
    expect([9, 9, 9, 9].map((nowS) => table.takeQuery("a", nowS))).toEqual([true, true, true, false]);
  });
});

describe("names under wildcards", () => {
  test("over the bound a new name is refused, a known one is not, and old ones make room", () => {
    const table = createClientTable({ maxQueriesPerS: 3, maxNamesPerClient: 2 });
    expect(table.takeName("a", "x", 0)).toBe(true);
    expect(table.takeName("a", "y", 300)).toBe(true);
    expect(table.takeName("a", "z", 300)).toBe(false);
    expect(table.takeName("a", "x", 400)).toBe(true);
    expect(table.takeName("a", "z", 899)).toBe(false);
    expect(table.takeName("a", "z", 901)).toBe(true);
    expect(table.takeName("b", "z", 300)).toBe(true);
  });
});

test("a machine has 512 questions under way at most, and another one its own", () => {
  const table = createClientTable({ maxQueriesPerS: 3, maxNamesPerClient: 2 });
  expect(Array.from({ length: 513 }, () => table.begin("a")).filter(Boolean)).toHaveLength(512);
  expect(table.begin("b")).toBe(true);
  table.end("a");
  expect(table.begin("a")).toBe(true);
  expect(table.begin("a")).toBe(false);
});

test("a silent client is forgotten", () => {
  const table = createClientTable({ maxQueriesPerS: 3, maxNamesPerClient: 2 });
  table.takeQuery("a", 0);
  table.takeName("b", "x", 0);
  table.sweep(61);
  expect(table.size()).toBe(1);
  table.sweep(700);
  expect(table.size()).toBe(0);
});
