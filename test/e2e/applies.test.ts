import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../agent/host/run.ts";
import { type AppliesReport, applyInARow } from "../faults/applies.ts";
import { compareUsage } from "../faults/usage.ts";
import { type Lab, startLab } from "../lab/lab.ts";

/** What an apply uses it gives back, and whoever is allowed notices none; `npm run faults -- --applies N` does many. */

const APPLIES = 20;
/** A good commit has at most this long in which nothing new is answered, on a machine that does nothing else. */
const MAX_GAP_MS = 3_000;
let lab: Lab;
let report: AppliesReport;

beforeAll(async () => {
  lab = await startLab();
  report = await applyInARow(lab, APPLIES, () => {});
}, 400_000);

afterAll(async () => {
  await lab?.stop();
});

test("twenty applies in a row, half of them bad: each ends as it must", () => {
  expect(report.wrong).toEqual([]);
  expect(report).toMatchObject({ confirmed: APPLIES / 2, rolledBack: APPLIES / 2 });
});

test("memory, files, processes and namespaces are at the end as at the start", () => {
  expect([...report.start.processes.keys()].sort()).toEqual(["agent", "api", "gate", "named", "proxy", "ulogd"]);
  expect(compareUsage(report.start, report.end)).toEqual([]);
});

test("meanwhile no allowed connection failed, none waited long, and nothing denied got through", () => {
  expect(report.leaks).toEqual([]);
  expect(report.service.failures).toEqual([]);
  expect(report.service.longestGapMs).toBeLessThan(MAX_GAP_MS);
});

test("GE12: an agent's confirmation and its revert timer race for the same change: never both, never neither", async () => {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const argv = [process.execPath, join(root, "dist", "faults.mjs"), "--timer-races", "40"] as const;
  const { stdout, exitCode } = await run(argv, { timeoutMs: 110_000 });
  expect(exitCode, stdout).toBe(0);
  const [, confirmed = "0", reverted = "0"] = /: (\d+) confirmed, (\d+) reverted/.exec(stdout) ?? [];
  expect(Number(confirmed) + Number(reverted)).toBe(40);
  expect(Number(reverted)).toBeGreaterThan(0);
});
