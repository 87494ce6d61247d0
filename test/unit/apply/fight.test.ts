import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFightWatch, requireNoFight, writeFight } from "../../../agent/apply/fight.ts";
import { removeHold } from "../../../agent/apply/hold-notes.ts";
import { bootTimeMs } from "../../../agent/host/clock.ts";

const MINUTE_MS = 60_000;
let fight: string;

beforeAll(async () => {
  fight = join(await mkdtemp(join(tmpdir(), "clawgress-fight-")), "fight.json");
});
afterAll(() => rm(join(fight, ".."), { recursive: true }));

/** Notes restorations at a pace; returns what each gave. */
function restore(watch: ReturnType<typeof createFightWatch>, count: number, everyMs: number, fromMs = 0) {
  return Array.from({ length: count }, (_, index) => watch.note(fromMs + index * everyMs));
}

test("ten restorations within ten minutes are a fight, nine are not, and ten over a longer time are not", () => {
  expect(restore(createFightWatch(), 9, 1_000)).toEqual(Array(9).fill(null));
  expect(restore(createFightWatch(), 10, 1_000).at(-1)).toBe(MINUTE_MS);
  expect(restore(createFightWatch(), 40, 67_000)).toEqual(Array(40).fill(null));
});

test("a fight that goes on after its pause is closed for twice as long, up to a bound; one that rests is forgotten", () => {
  const watch = createFightWatch();
  restore(watch, 10, 0);
  expect(watch.note(MINUTE_MS - 1)).toBeNull();
  let atMs = MINUTE_MS;
  const holds = [2, 4, 8, 16, 16].map((minutes) => {
    const holdMs = watch.note(atMs);
    atMs += minutes * MINUTE_MS;
    return holdMs;
  });
  expect(holds).toEqual([2, 4, 8, 16, 16].map((minutes) => minutes * MINUTE_MS));
  expect(watch.note(atMs + 10 * MINUTE_MS)).toBeNull();
  expect(restore(watch, 9, 0, atMs + 10 * MINUTE_MS).at(-1)).toBe(MINUTE_MS);
});

test("an operator's word ends what was counted", () => {
  const watch = createFightWatch();
  restore(watch, 10, 0);
  watch.forget();
  expect(restore(watch, 9, 0, 1_000)).toEqual(Array(9).fill(null));
});

test("nothing may be opened while the note holds; when it is over, damaged or gone, everything may", async () => {
  const held = { code: "HELD_FIGHT", message: expect.stringContaining("the table") };
  await requireNoFight({ fight });
  await writeFight(fight, { what: "the table", untilBootMs: bootTimeMs() + MINUTE_MS });
  await expect(requireNoFight({ fight })).rejects.toMatchObject(held);
  await writeFight(fight, { what: "the table", untilBootMs: bootTimeMs() });
  await requireNoFight({ fight });
  for (const damaged of ["{", "null", '{"what":"the table"}', `{"what":"the table","untilBootMs":1e300}`]) {
    await writeFile(fight, damaged);
    await requireNoFight({ fight });
  }
  expect(await removeHold(fight)).toBe(true);
  expect(await removeHold(fight)).toBe(false);
});
