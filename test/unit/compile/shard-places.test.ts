import { expect, test } from "vitest";
import {
  joinPlaces,
  readPlace,
  readPlaces,
  renderAllPlaces,
  renderPlaces,
} from "../../../agent/compile/shard-places.ts";
import { SHARDS } from "../../../agent/compile/shards.ts";
import type { Place } from "../../../agent/policy/policy.ts";

const place = (pointer: string, line = 3, file = "policy.json"): Place => ({ file, line, column: 7, pointer });
const places = [
  place("/allow/domains/0"),
  place("/allow/domains/51230", 51_240),
  place("/hosts/a~1b/allow/domains/7", 9, 'lists/we "b".json'),
  place("/allow/domains/2"),
  place("/hosts/10", 4),
  place("/groups/007", 4),
  place("/groups/1234567890123", 4),
  place("/groups/0", 4_000_000_000),
  place("/allow", 4),
  place("/hosts/", 4),
  place("", 1),
];

const rules = places.map((place) => ({ place }));
/** The file of some lists, given the shard of each rule. */
function write(lists: readonly { readonly rules: typeof rules; readonly shards: readonly number[] }[]): Buffer {
  const parts = renderAllPlaces(lists.map(({ rules, shards }) => ({ rules, shards: Uint8Array.from(shards) })));
  for (const shard of SHARDS) {
    const share = lists.flatMap(({ rules, shards }) => rules.filter((_rule, at) => shards[at] === shard));
    expect(renderPlaces(share)).toEqual(parts[shard]);
  }
  return joinPlaces(parts);
}

const all = write([{ rules, shards: rules.map(() => 9) }]);

test("each place is read as it was written, by its number and with the others", () => {
  expect(readPlaces(all, 9)).toEqual(places);
  for (const [ordinal, expected] of places.entries()) expect(readPlace(all, 9, ordinal)).toEqual(expected);
  expect(readPlaces(all, 8)).toEqual([]);
});

test("within a shard, places stand list after list", () => {
  const bytes = write([
    { rules: rules.slice(0, 3), shards: [7, 0, 7] },
    { rules: rules.slice(3, 6), shards: [0, 7, 31] },
  ]);
  const orders = { 0: [1, 3], 7: [0, 2, 4], 31: [5] };
  for (const [shard, order] of Object.entries(orders)) {
    expect(readPlaces(bytes, Number(shard))).toEqual(order.map((at) => places[at]));
  }
});

test("a place that is not there is an error", () => {
  for (const ordinal of [-1, places.length, places.length + 1, 1000]) {
    expect(() => readPlace(all, 9, ordinal)).toThrow(RangeError);
  }
  for (const shard of [-1, 32]) expect(() => readPlaces(all, shard)).toThrow(RangeError);
  expect(() => readPlace(Buffer.of(), 0, 0)).toThrow(RangeError);
});

test("what is cut off, or names a list that is not there, is an error", () => {
  expect(() => readPlaces(all.subarray(0, -300), 9)).toThrow(RangeError);
  for (const [head, bytes] of [["[]\n", 16] as const, ["[]\n", 15] as const, ["[]", 0] as const]) {
    expect(() => readPlaces(joinPlaces([[Buffer.from(head), Buffer.alloc(bytes)]]), 0)).toThrow(RangeError);
  }
});
