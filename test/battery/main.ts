import { parseArgs } from "node:util";
import { abuseScenarios, abuseStage } from "./abuse-scenarios.ts";
import { dnsScenarios } from "./dns-scenarios.ts";
import { dnsStage } from "./dns-stage.ts";
import { packetScenarios, packetStage } from "./packet-scenarios.ts";
import { type Performance, perform } from "./perform.ts";
import type { Scenario } from "./scenario.ts";
import { raiseStage, type StageOptions } from "./scene.ts";
import { tlsScenarios, tlsStage } from "./tls-scenarios.ts";

/**
 * `npm run battery -- [--open] [ID…]`: plays ways round a gateway before a real one and prints what came of each. Ends with
 * status 1 when anything got through. With `--open` the gateway enforces nothing, and every attack should succeed.
 */

const suites: readonly (readonly [options: StageOptions, scenarios: readonly Scenario[]])[] = [
  [dnsStage, dnsScenarios],
  [packetStage, packetScenarios],
  [tlsStage, tlsScenarios],
  [abuseStage, abuseScenarios],
];

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { open: { type: "boolean", default: false } },
});
const known = new Set(suites.flatMap(([, scenarios]) => scenarios.map(({ id }) => id)));
const unknown = positionals.filter((id) => !known.has(id));
if (unknown.length > 0) {
  console.error(`no scenario ${unknown.join(", ")}; there are ${[...known].join(", ")}`);
  process.exit(2);
}

let wrong = 0;
let played = 0;
for (const [options, all] of suites) {
  const scenarios = all.filter(({ id }) => positionals.length === 0 || positionals.includes(id));
  if (scenarios.length === 0) continue;
  const stage = await raiseStage(values.open ? null : options);
  try {
    for (const scenario of scenarios) {
      for (const family of scenario.families ?? ([4, 6] as const)) {
        const performance = await perform(stage, scenario, family).catch(failed);
        const { gained, slow, control, missing, vain } = performance;
        const isRight = values.open
          ? gained.length > 0 && vain.length === 0 && control === null
          : control === null && [gained, slow, missing].every((list) => list.length === 0);
        played += 1;
        wrong += isRight ? 0 : 1;
        const result = gained.length > 0 ? "GETS THROUGH" : "gets nothing";
        console.log(
          `${isRight ? "✔" : "✘"} ${scenario.id.padEnd(5)} IPv${family}  ${result.padEnd(13)} ${scenario.title}`,
        );
        for (const line of isRight ? [] : describe(performance)) console.log(`      ${line}`);
      }
    }
  } finally {
    await stage.stop();
  }
}
console.log(`${played} played, ${wrong} not as they should be`);
process.exit(wrong === 0 ? 0 : 1);

/** An attack that could not be made says nothing of the gateway: that is wrong, too. */
function failed(error: Error): Performance {
  return { gained: [], slow: [], control: `the attack could not be made: ${error.message}`, missing: [], vain: [] };
}

function describe(performance: Performance): readonly string[] {
  const { gained, slow, control, missing, vain } = performance;
  return [
    ...gained.map((line) => `gained: ${line}`),
    ...slow.map((line) => `slow: ${line}`),
    ...(control === null ? [] : [`what is allowed: ${control}`]),
    ...missing.map((line) => `no record: ${line}`),
    ...vain.map((line) => `in vain: ${line}`),
  ];
}
