import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { clearScratch, makeScratch } from "../../../agent/apply/clear-scratch.ts";
import { run, runChecked } from "../../../agent/host/run.ts";

/** Above the largest number that a process can have (4,194,304). */
const NOBODY = 9_999_999;
const limits = { timeoutMs: 10_000 };

test.runIf(process.getuid?.() === 0)("what killed agents left goes, what living ones use stays", async () => {
  const mine = await makeScratch();
  const dead = join(tmpdir(), `clawgress-check-${NOBODY}-aB3dE6`);
  const strange = join(tmpdir(), `clawgress-check-${NOBODY}`);
  await mkdir(dead);
  await mkdir(strange);
  await runChecked(["ip", "netns", "add", basename(dead)], limits);
  await runChecked(["ip", "netns", "add", basename(mine)], limits);
  try {
    await clearScratch();
    expect([dead, mine, strange].map(existsSync)).toEqual([false, true, true]);
    expect([dead, mine].map((path) => existsSync(join("/run/netns", basename(path))))).toEqual([false, true]);
  } finally {
    await run(["ip", "netns", "del", basename(mine)], limits);
    for (const path of [mine, dead, strange]) await rm(path, { recursive: true, force: true });
  }
});
