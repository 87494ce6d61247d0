import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway } from "../support/gateway.ts";
import { ALWAYS_ALLOWED, policyOf } from "./campaign.ts";
import { type Service, startLoad } from "./load.ts";
import { compareUsage, describeUsage, readUsage, type Usage } from "./usage.ts";

export interface AppliesReport {
  readonly applied: number;
  readonly confirmed: number;
  readonly rolledBack: number;
  readonly wrong: readonly string[];
  readonly start: Usage;
  readonly end: Usage;
  readonly service: Service;
  readonly leaks: readonly string[];
  readonly tookMs: number;
}

const HEALTH = "health.allowed.test";
/** Caches and the ten releases that are kept are full by then. */
export const WARM_UP = 12;

/** Applies so many commits after those that warm it up, and prints what that came to. Returns whether all is as at the start. */
export async function measureApplies(count: number, minutes: number): Promise<boolean> {
  const lab = await startLab();
  try {
    const report = await applyInARow(lab, count, (text) => console.log(text), minutes);
    const wrong = [
      ...report.wrong,
      ...report.leaks,
      ...report.service.failures,
      ...compareUsage(report.start, report.end),
    ];
    console.log(
      `${report.applied} applies in ${Math.round(report.tookMs / 1000)} s: ${report.confirmed} confirmed, ${report.rolledBack} rolled back`,
    );
    console.log(`start ${describeUsage(report.start)}`);
    console.log(`end   ${describeUsage(report.end)}`);
    console.log(
      `longest time without an allowed connection: ${Math.round(report.service.longestGapMs)} ms; ${report.service.failures.length} allowed attempts failed; ${report.leaks.length} leaks`,
    );
    for (const line of wrong) console.log(`✘ ${line}`);
    return wrong.length === 0;
  } finally {
    await lab.stop();
  }
}

/** Applies one commit after the other, every other one broken so that it is rolled back, under clients that never rest. */
export async function applyInARow(
  lab: Lab,
  count: number,
  say: (text: string) => void,
  minutes = 600,
): Promise<AppliesReport> {
  const probes = [{ name: "page", type: "tcp", host: "*", to: HEALTH, port: 443, timeoutMs: 1_000, attempts: 2 }];
  const gateway = await setUpGateway(lab, {
    policy: policyOf(lab, "n0.wild.test", HEALTH),
    threshold: 1,
    config: { health: { probes } },
  });
  const agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
  const wrong: string[] = [];
  const counts = { confirmed: 0, rolledBack: 0 };
  const apply = async (index: number): Promise<void> => {
    const isGood = index % 2 === 0;
    const commit = await gateway.commit(policyOf(lab, `n${index}.wild.test`, ...(isGood ? [HEALTH] : [])), {
      signers: ["alice"],
    });
    const { state, description } = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
    if (state === "success") counts.confirmed += 1;
    else counts.rolledBack += 1;
    const isRight = isGood ? state === "success" : /rolled back: HEALTH_FAILED/.test(description ?? "");
    if (!isRight) wrong.push(`apply ${index} ends with ${state}: ${description}`);
  };
  for (let index = 1; index <= WARM_UP; index += 1) await apply(index);
  const load = await startLoad(lab, ALWAYS_ALLOWED);
  const start = await readUsage(gateway.folder, agent.pid);
  await load.look();
  Object.assign(counts, { confirmed: 0, rolledBack: 0 });
  const startedMs = monotonicMs();
  let applied = 0;
  for (let index = WARM_UP + 1; index <= WARM_UP + count; index += 1) {
    if (monotonicMs() - startedMs > minutes * 60_000) break;
    applied += 1;
    await apply(index);
    if ((index - WARM_UP) % 50 === 0)
      say(`${index - WARM_UP} ${describeUsage(await readUsage(gateway.folder, agent.pid))}`);
  }
  const tookMs = monotonicMs() - startedMs;
  const service = await load.look();
  const { leaks } = await load.stop();
  // A timer that was dismissed, and a scratch namespace, are gone a moment later.
  await sleepMs(1_500);
  const end = await readUsage(gateway.folder, agent.pid);
  await agent.kill();
  return { applied, ...counts, wrong, start, end, service, leaks, tookMs };
}
