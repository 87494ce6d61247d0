import { parseArgs } from "node:util";
import { startLab } from "../lab/lab.ts";
import { openCampaign } from "./campaign.ts";

/**
 * `npm run differential -- [--pairs N] [--seed N] [--per-policy N]`: random policies, put in force for real, and random flows, each
 * judged by `explain` and by the gateway. Ends with status 1 when they do not agree. A policy's own seed repeats it.
 */

const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "10000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    "per-policy": { type: "string", default: "125" },
  },
});
const pairs = Number(values.pairs);
const perPolicy = Number(values["per-policy"]);
const first = Number(values.seed);
if (![pairs, perPolicy, first].every((value) => Number.isInteger(value) && value > 0)) {
  console.error("--pairs, --seed and --per-policy are whole numbers above 0");
  process.exit(2);
}

const lab = await startLab();
const total = { pairs: 0, through: 0, disagreements: 0, policies: 0 };
try {
  const campaign = await openCampaign(lab);
  console.log(`${pairs} pairs, seeds from ${first}`);
  for (let seed = first; total.pairs < pairs; seed += 1) {
    const round = await campaign.round({ seed, pairs: Math.min(perPolicy, Math.max(pairs - total.pairs, 20)) });
    total.policies += 1;
    total.pairs += round.pairs;
    total.through += round.through;
    total.disagreements += round.disagreements.length;
    const mark = round.disagreements.length === 0 ? "✔" : "✘";
    console.log(`${mark} ${seed}: ${round.pairs} pairs, ${round.through} pass, ${Math.round(round.tookMs)} ms`);
    for (const line of round.disagreements) console.log(`    ${line}`);
    if (round.disagreements.length > 0) console.log(round.policy.replace(/^/gm, "    | "));
  }
  const { policies, through, disagreements } = total;
  console.log(`${total.pairs} pairs under ${policies} policies: ${through} pass, ${disagreements} disagreements`);
} finally {
  await lab.stop();
}
process.exit(total.disagreements === 0 ? 0 : 1);
