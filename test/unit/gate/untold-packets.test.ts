import { expect, test } from "vitest";
import { createUntoldPackets, type UntoldPackets } from "../../../agent/gate/untold-packets.ts";

interface Bench {
  readonly counts: Map<string, number>;
  readonly untold: UntoldPackets;
  readonly handedOn: string[];
  reads: number;
}

function bench(): Bench {
  const counts = new Map<string, number>();
  const handedOn: string[] = [];
  const world = { reads: 0 };
  const read = async (): Promise<ReadonlyMap<string, number>> => {
    world.reads += 1;
    return new Map(counts);
  };
  const untold = createUntoldPackets(read, (client, count) => handedOn.push(`${client} ${count}`));
  return Object.assign(world, { counts, untold, handedOn });
}

test("what the kernel counted and did not tell is handed on once, a look later: lines may be on their way", async () => {
  const { counts, untold, handedOn } = bench();
  await untold.compare();
  for (let index = 0; index < 20; index++) untold.told("a");
  counts.set("a", 1000);
  await untold.compare();
  expect(handedOn).toEqual([]);
  for (let index = 0; index < 5; index++) untold.told("a");
  counts.set("a", 1500);
  await untold.compare();
  expect(handedOn).toEqual(["a 975"]);
  for (let index = 0; index < 5; index++) await untold.compare();
  expect(handedOn).toEqual(["a 975", "a 500"]);
});

test("what was counted before the first look is not this gate's", async () => {
  const { counts, untold, handedOn } = bench();
  counts.set("a", 700);
  await untold.compare();
  untold.told("a");
  counts.set("a", 701);
  for (let index = 0; index < 5; index++) await untold.compare();
  expect(handedOn).toEqual([]);
});

test("a client that the kernel forgot begins anew", async () => {
  const { counts, untold, handedOn } = bench();
  await untold.compare();
  untold.told("a");
  counts.set("a", 50);
  for (let index = 0; index < 5; index++) await untold.compare();
  expect(handedOn).toEqual(["a 49"]);
  // Gone and back between two looks.
  untold.told("a");
  counts.set("a", 3);
  for (let index = 0; index < 5; index++) await untold.compare();
  expect(handedOn).toEqual(["a 49", "a 2"]);
  // Gone at a look.
  counts.delete("a");
  untold.told("b");
  counts.set("b", 1);
  for (let index = 0; index < 5; index++) await untold.compare();
  untold.told("a");
  counts.set("a", 2);
  for (let index = 0; index < 5; index++) await untold.compare();
  expect(handedOn).toEqual(["a 49", "a 2", "a 1"]);
});

test("nobody looks while nothing is told", async () => {
  const it = bench();
  for (let index = 0; index < 10; index++) await it.untold.compare();
  expect(it.reads).toBe(1);
  it.untold.told("a");
  it.counts.set("a", 1);
  for (let index = 0; index < 10; index++) await it.untold.compare();
  expect(it.reads).toBe(5);
});
