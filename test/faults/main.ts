import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { monotonicMs } from "../../agent/host/clock.ts";
import { startLab } from "../lab/lab.ts";
import { measureApplies } from "./applies.ts";
import { ALWAYS_ALLOWED, openFaultLab } from "./campaign.ts";
import { startLoad } from "./load.ts";
import { type Random, seededRandom } from "./random.ts";
import { judgeService } from "./service.ts";
import { anyMoments, everyStep, type Notice, noticeOf, pausedAt, race, type Strike } from "./strikes.ts";
import { raceTimers } from "./timer-races.ts";

/**
 * `npm run faults -- [--kills N] [--races N] [--seed N] [--steps no] [--minutes N]`: kills and pauses a gateway's processes while it applies
 * commits, at every step and at random moments, under clients that never rest. Ends with status 1 when a denied connection
 * succeeded, an allowed one failed where none may, or the gateway was ever a mixture.
 * `npm run faults -- --timer-races N`: an agent's confirmation against its revert timer, with nothing round them.
 * `npm run faults -- --applies N [--minutes N]`: applies so many commits in a row, half of them bad, and compares what the gateway uses.
 */

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "100" },
    races: { type: "string", default: "40" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    steps: { type: "string", default: "yes" },
    minutes: { type: "string", default: "600" },
    applies: { type: "string" },
    "timer-races": { type: "string" },
  },
});

function plan(random: Random): readonly Strike[] {
  const steps = values.steps === "yes" ? everyStep(random) : [];
  const pauses = values.steps === "yes" ? (["4a-zones", "4c-kernel", "4d-gate", "6-probe", "7-confirm"] as const) : [];
  const races = Array.from({ length: Number(values.races) }, () => race(random.between(-40, 40)));
  return [...steps, ...pauses.map(pausedAt), ...anyMoments(random, Number(values.kills)), ...races];
}

async function strikeAll(): Promise<boolean> {
  const strikes = plan(seededRandom(Number(values.seed)));
  console.log(`${strikes.length} strikes, seed ${values.seed}`);
  const lab = await startLab();
  let failures = 0;
  let kills = 0;
  let struck = 0;
  const decided = { old: 0, new: 0 };
  const gaps: { [Kind in Notice]: number } = { nothing: 0, hold: 0, parts: 0 };
  try {
    const faults = await openFaultLab(lab);
    const load = await startLoad(lab, ALWAYS_ALLOWED);
    const endMs = monotonicMs() + Number(values.minutes) * 60_000;
    for (const [index, strike] of strikes.entries()) {
      if (monotonicMs() > endMs) break;
      await load.look();
      try {
        const report = await faults.strike(strike);
        const notice = noticeOf(strike);
        const service = await load.look();
        const wrong = [...report.wrong, ...judgeService(notice, service)];
        struck += 1;
        decided[report.decided] += 1;
        kills += report.kills;
        gaps[notice] = Math.max(gaps[notice], service.longestGapMs);
        if (wrong.length > 0) failures += 1;
        const mark = wrong.length === 0 ? "✔" : "✘";
        const gap = `gap ${Math.round(service.longestGapMs)} ms`;
        console.log(
          `${mark} ${index + 1} ${report.what}: ${report.decided}, ${Math.round(report.tookMs)} ms, ${notice}, ${gap}`,
        );
        for (const line of wrong) console.log(`    ${line}`);
      } catch (error) {
        failures += 1;
        console.log(`✘ ${index + 1} ${JSON.stringify(strike)}: ${(error as Error).message}`);
      }
    }
    const { allowed, denied, leaks } = await load.stop();
    const stillDown = await faults.listDown();
    failures += stillDown.length;
    for (const part of stillDown) console.log(`✘ ${part} does not run in the end`);
    failures += leaks.length;
    for (const leak of leaks) console.log(`✘ ${leak}`);
    console.log(
      `${struck} strikes, ${kills} kills; ${decided.old} times the old release, ${decided.new} times the new one`,
    );
    console.log(
      `${denied.tried} denied attempts, ${leaks.length} leaks; ${allowed.connected} of ${allowed.tried} allowed ones`,
    );
    const ms = (kind: Notice): string => `${Math.round(gaps[kind])} ms (${kind})`;
    console.log(`longest time without an allowed connection: ${ms("nothing")}, ${ms("hold")}, ${ms("parts")}`);
    console.log(`${failures} failures`);
  } finally {
    await lab.stop();
  }
  return failures === 0;
}

async function raceHere(rounds: number): Promise<boolean> {
  const random = seededRandom(Number(values.seed));
  const startedMs = monotonicMs();
  const { confirmed, reverted, wrong } = await raceTimers(rounds, random, dirname(process.argv[1] ?? ""));
  const seconds = Math.round((monotonicMs() - startedMs) / 1000);
  console.log(`${rounds} races in ${seconds} s, seed ${values.seed}: ${confirmed} confirmed, ${reverted} reverted`);
  for (const line of wrong) console.log(`✘ ${line}`);
  return wrong.length === 0;
}

/** A timer that wins closes everything: not the machine's own rules. */
function raceElsewhere(rounds: string): boolean {
  const argv = ["--net", process.execPath, process.argv[1] ?? "", "--timer-races", rounds, "--seed", values.seed];
  const env = { ...process.env, [INSIDE]: "1" };
  return spawnSync("unshare", argv, { env, stdio: ["ignore", "inherit", "ignore"] }).status === 0;
}

const INSIDE = "CLAWGRESS_RACES_INSIDE";

async function main(): Promise<boolean> {
  const rounds = values["timer-races"];
  if (rounds !== undefined) return INSIDE in process.env ? await raceHere(Number(rounds)) : raceElsewhere(rounds);
  return values.applies === undefined
    ? await strikeAll()
    : await measureApplies(Number(values.applies), Number(values.minutes));
}

process.exit((await main()) ? 0 : 1);
