import { expect, test } from "vitest";
import { readPlace, readPlaces, renderPlaces } from "../../../agent/compile/shard-places.ts";
import type { Place } from "../../../agent/policy/policy.ts";

const place = (pointer: string, line = 3, file = "policy.json"): Place => ({ file, line, column: 7, pointer });
const places = [
  place("/allow/domains/0"),
  place("/allow/domains/51230", 51_240),
  place("/hosts/a~1b/allow/domains/7", 9, 'lists/we "b".json'),
  place("/allow/domains/2"),
  place("/hosts/10", 4),
  place("/allow", 4),
  place("/hosts/", 4),
  place("", 1),
];

test("each place is read as it was written, by its number and with the others", () => {
  const bytes = renderPlaces(places.map((place) => ({ place })));
  expect(readPlaces(bytes)).toEqual(places);
  for (const [ordinal, expected] of places.entries()) expect(readPlace(bytes, ordinal)).toEqual(expected);
});

test("a place that is not there is an error", () => {
  const bytes = renderPlaces(places.map((place) => ({ place })));
  for (const ordinal of [places.length, places.length + 1, 1000]) {
    expect(() => readPlace(bytes, ordinal)).toThrow(RangeError);
  }
  expect(() => readPlace(Buffer.of(), 0)).toThrow(RangeError);
  expect(readPlaces(renderPlaces([]))).toEqual([]);
  expect(() => readPlaces(Buffer.from('[["policy.json","/allow/domains"]]\n3 7 1 0\n'))).toThrow(RangeError);
});
