import { parseArgs } from "node:util";
import { startLab } from "../lab/lab.ts";
import { ALWAYS_ALLOWED, anyMoment, everyStep, openFaultLab, pausedAt, race, type Strike } from "./campaign.ts";
import { startLoad } from "./load.ts";
import { type Random, seededRandom } from "./random.ts";

/**
 * `npm run faults -- [--kills N] [--races N] [--seed N]`: kills and pauses a gateway's processes while it applies commits, at every
 * step and at random moments, under clients that never rest. Ends with status 1 when a denied connection succeeded or the
 * gateway was ever a mixture.
 */

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "100" },
    races: { type: "string", default: "40" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});

function plan(random: Random): readonly Strike[] {
  const kills = Array.from({ length: Number(values.kills) }, () => anyMoment(random));
  const races = Array.from({ length: Number(values.races) }, () => race(random.between(-40, 40)));
  const pauses = (["4a-zones", "4c-kernel", "4d-gate", "6-probe", "7-confirm"] as const).map(pausedAt);
  return [...everyStep(random), ...pauses, ...kills, ...races];
}

const strikes = plan(seededRandom(Number(values.seed)));
console.log(`${strikes.length} strikes, seed ${values.seed}`);
const lab = await startLab();
let failures = 0;
const decided = { old: 0, new: 0 };
try {
  const faults = await openFaultLab(lab);
  const load = await startLoad(lab, ALWAYS_ALLOWED);
  for (const [index, strike] of strikes.entries()) {
    try {
      const report = await faults.strike(strike);
      decided[report.decided] += 1;
      if (report.wrong.length > 0) failures += 1;
      const mark = report.wrong.length === 0 ? "✔" : "✘";
      console.log(`${mark} ${index + 1} ${report.what}: ${report.decided}, ${Math.round(report.tookMs)} ms`);
      for (const line of report.wrong) console.log(`    ${line}`);
    } catch (error) {
      failures += 1;
      console.log(`✘ ${index + 1} ${JSON.stringify(strike)}: ${(error as Error).message}`);
    }
  }
  const { allowed, denied, leaks } = await load.stop();
  failures += leaks.length;
  for (const leak of leaks) console.log(`✘ ${leak}`);
  console.log(`${decided.old} times the old release, ${decided.new} times the new one, ${failures} failures`);
  console.log(
    `${denied.tried} denied attempts, ${leaks.length} leaks; ${allowed.connected} of ${allowed.tried} allowed ones`,
  );
} finally {
  await lab.stop();
}
process.exit(failures === 0 ? 0 : 1);
