import { afterAll, beforeAll, expect, test } from "vitest";
import { ALWAYS_ALLOWED, type FaultLab, openFaultLab } from "../faults/campaign.ts";
import { type Load, startLoad } from "../faults/load.ts";
import { judgeService } from "../faults/service.ts";
import { type Kill, noticeOf, pausedAt, race, type Strike } from "../faults/strikes.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { Fault } from "../support/gateway.ts";

/**
 * A few strikes of the fault harness, under clients that never rest; `npm run faults` does hundreds. Whatever dies when: nothing
 * denied gets through, and one release is in force, whole.
 */

let lab: Lab;
let faults: FaultLab;
let load: Load;

beforeAll(async () => {
  lab = await startLab();
  faults = await openFaultLab(lab);
  load = await startLoad(lab, ALWAYS_ALLOWED);
});

afterAll(async () => {
  await load?.stop();
  await lab?.stop();
});

const killed = (step: Fault["step"], after: Strike["after"]): Strike => ({
  hit: { fault: { step, moment: "after", do: "kill" } },
  after,
});
const killedParts = (victims: Kill["victims"], after: Strike["after"]): Strike => ({
  hit: { kills: [{ victims, afterMs: 1_500 }] },
  after,
});

test.each<[string, Strike, "old" | "new" | "either"]>([
  ["killed after the kernel has the new rules; nobody comes but the timer", killed("4c-kernel", "wait"), "old"],
  ["killed after the swap; boot", killed("4d-gate", "boot"), "new"],
  ["killed once it has won; an agent that dies as well", killed("7-confirm", "dying-agent"), "new"],
  ["all are killed; boot", killedParts(["agent", "timer", "gate", "named", "proxy", "ulogd"], "boot"), "either"],
  ["paused before it confirms", pausedAt("7-confirm"), "old"],
  ["confirming just after the timer has acted", race(60), "old"],
])("GE1: %s", async (_, strike, decided) => {
  await load.look();
  const report = await faults.strike(strike);
  expect(report.wrong).toEqual([]);
  expect(judgeService(noticeOf(strike), await load.look())).toEqual([]);
  if (decided !== "either") expect(report.decided).toBe(decided);
});

test("GE1: meanwhile nothing denied got through or left the gateway, and what is allowed went on", async () => {
  expect(await faults.listDown()).toEqual([]);
  const { allowed, denied, leaks } = await load.stop();
  expect(leaks).toEqual([]);
  expect(denied.tried).toBeGreaterThan(1_000);
  expect(allowed.connected / allowed.tried).toBeGreaterThan(0.9);
});
