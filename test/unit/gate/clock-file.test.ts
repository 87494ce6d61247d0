import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readLatestTime, writeLatestTime } from "../../../agent/gate/clock-file.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-clock-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("the latest time comes back in whole seconds, and there is none before the first", async () => {
  const path = join(folder, "clock", "latest");
  expect(await readLatestTime(path)).toBeNull();
  await writeLatestTime(path, 1_795_000_000.9);
  expect(await readLatestTime(path)).toBe(1_795_000_000);
});

test.each(["", "soon", "-5", "99999999999", '{"latestS":1}'])(
  "a file that says %j is before no clock, and stays",
  async (text) => {
    const path = join(folder, "latest");
    await writeFile(path, text);
    const latestS = await readLatestTime(path);
    expect(latestS).toBe(Number.POSITIVE_INFINITY);
    await writeLatestTime(path, latestS ?? 0);
    expect(await readFile(path, "utf8")).toBe(text);
  },
);

test("a folder that cannot be made is an error that names it", async () => {
  await writeFile(join(folder, "clock"), "");
  await expect(writeLatestTime(join(folder, "clock", "latest"), 5)).rejects.toMatchObject({ code: "HOST_FILE" });
});
