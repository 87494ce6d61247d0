import { expect, test } from "vitest";
import { createUntoldPackets, type UntoldPackets } from "../../../agent/gate/untold-packets.ts";

interface Bench {
  readonly counts: Map<string, number>;
  readonly untold: Pick<UntoldPackets, "told">;
  look(): void;
  readonly handedOn: string[];
  reads: number;
}

function bench(): Bench {
  const counts = new Map<string, number>();
  const handedOn: string[] = [];
  const world = { reads: 0 };
  const untold = createUntoldPackets((client, count) => handedOn.push(`${client} ${count}`));
  const look = (): void => {
    if (!untold.isDue()) return;
    world.reads += 1;
    untold.compare(new Map(counts));
  };
  return Object.assign(world, { counts, untold, look, handedOn });
}

test("what the kernel counted and did not tell is handed on once, a look later: lines may be on their way", () => {
  const { counts, untold, look, handedOn } = bench();
  look();
  for (let index = 0; index < 20; index++) untold.told("a");
  counts.set("a", 1000);
  look();
  expect(handedOn).toEqual([]);
  for (let index = 0; index < 5; index++) untold.told("a");
  counts.set("a", 1500);
  look();
  expect(handedOn).toEqual(["a 975"]);
  for (let index = 0; index < 5; index++) look();
  expect(handedOn).toEqual(["a 975", "a 500"]);
});

test("what was counted before the first look is not this gate's", () => {
  const { counts, untold, look, handedOn } = bench();
  counts.set("a", 700);
  look();
  untold.told("a");
  counts.set("a", 701);
  for (let index = 0; index < 5; index++) look();
  expect(handedOn).toEqual([]);
});

test("a client that the kernel forgot begins anew", () => {
  const { counts, untold, look, handedOn } = bench();
  look();
  untold.told("a");
  counts.set("a", 50);
  for (let index = 0; index < 5; index++) look();
  expect(handedOn).toEqual(["a 49"]);
  // Gone and back between two looks.
  untold.told("a");
  counts.set("a", 3);
  for (let index = 0; index < 5; index++) look();
  expect(handedOn).toEqual(["a 49", "a 2"]);
  // Gone at a look.
  counts.delete("a");
  untold.told("b");
  counts.set("b", 1);
  for (let index = 0; index < 5; index++) look();
  untold.told("a");
  counts.set("a", 2);
  for (let index = 0; index < 5; index++) look();
  expect(handedOn).toEqual(["a 49", "a 2", "a 1"]);
});

test("nobody looks while nothing is told", () => {
  const it = bench();
  for (let index = 0; index < 10; index++) it.look();
  expect(it.reads).toBe(1);
  it.untold.told("a");
  it.counts.set("a", 1);
  for (let index = 0; index < 10; index++) it.look();
  expect(it.reads).toBe(5);
});
