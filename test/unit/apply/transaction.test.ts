import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  armTransaction,
  closeConfirmed,
  closeRevert,
  readTransaction,
  requireArmed,
  type Transaction,
  winTransaction,
} from "../../../agent/apply/transaction.ts";

const sample: Transaction = {
  id: "0123456789abcdef0123456789abcdef",
  ...{ next: "n".repeat(64), nextTable: "m".repeat(64), previous: "p".repeat(64), previousTable: "t".repeat(64) },
  ...{ commit: "c".repeat(40), serial: 7, deadlineMs: 123_450 },
};

let folder: string;

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), "cgap-txn-")), "txn");
  await armTransaction(folder, sample);
});
afterEach(async () => {
  await rm(join(folder, ".."), { recursive: true, force: true });
});

test("what was armed is read back", async () => {
  expect(await readTransaction(folder, "armed")).toEqual(sample);
  expect(await readTransaction(folder, "reverting")).toBeNull();
  await expect(requireArmed(folder, sample.id)).resolves.toBeUndefined();
});

describe.each([
  ["confirmed", "reverting"],
  ["reverting", "confirmed"],
] as const)("won for %s", (winner, loser) => {
  beforeEach(async () => {
    expect(await winTransaction(folder, winner)).toBe(true);
  });

  test("nobody wins it again, for whatever", async () => {
    expect(await winTransaction(folder, loser)).toBe(false);
    expect(await winTransaction(folder, winner)).toBe(false);
    expect(await readTransaction(folder, winner)).toEqual(sample);
    expect(await readTransaction(folder, loser)).toBeNull();
  });

  test("whoever changes rules for it finds that it is over", async () => {
    await expect(requireArmed(folder, sample.id)).rejects.toMatchObject({ code: "APPLY_NOT_CONFIRMED" });
  });
});

test("of many that race for an end, one wins", async () => {
  for (let round = 0; round < 50; round++) {
    await armTransaction(folder, sample);
    const ends = Array.from({ length: 8 }, (_, index) =>
      index % 2 === 0 ? ("confirmed" as const) : ("reverting" as const),
    );
    const won = await Promise.all(ends.map((end) => winTransaction(folder, end)));
    expect(won.filter(Boolean)).toHaveLength(1);
  }
});

test("another transaction that is armed does not count as one's own", async () => {
  await expect(requireArmed(folder, "f".repeat(32))).rejects.toMatchObject({ code: "APPLY_NOT_CONFIRMED" });
});

test("ends are closed once, and closing again is fine", async () => {
  await winTransaction(folder, "confirmed");
  await closeConfirmed(folder);
  await closeConfirmed(folder);
  expect(await readTransaction(folder, "confirmed")).toBeNull();
  await closeRevert(folder);
  expect(await readTransaction(folder, "reverted")).toBeNull();
});

test.each(["", "{", "[]", "null", "7", '{"id":7}'])(
  "a record that holds %j names nothing that exists",
  async (text) => {
    await writeFile(join(folder, "armed"), text);
    const read = await readTransaction(folder, "armed");
    expect(read?.id).not.toBe(sample.id);
    await expect(requireArmed(folder, sample.id)).rejects.toMatchObject({ code: "APPLY_NOT_CONFIRMED" });
  },
);
