import type { LogLine, PolicyText, TestGateway } from "../support/gateway.ts";
import { openBenchGateway, smallPolicy } from "./gateway.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { median } from "./statistics.ts";

/** The log's events in the order of an apply; each ends a step that the one before began. */
const events = [
  "commit-approved",
  "release-staged",
  "apply-armed",
  "apply-swapped",
  "apply-read-back",
  "apply-confirmed",
] as const;

/** From a commit that is seen to its rules in force, read back and confirmed, in a running agent. */
export const measureEnforce: Measure = ({ quick, say }) =>
  withLab(async (lab) => {
    const gateway = await openBenchGateway(lab);
    gateway.start();
    await gateway.awaitStatus(await gateway.head(), ["success"]);
    const rounds = quick ? 1 : 5;
    const policies = Array.from({ length: rounds }, (_, turn) => smallPolicy(`n${turn}.allowed.test`));
    const rows = await applyAll(gateway, policies, "small policy", "≤ 1 s");
    if (quick) return rows;

    say("100,000 names");
    await gateway.awaitStatus(await gateway.commit(policyOf100k("first")), ["success"]);
    const larger = ["second", "third"].map(policyOf100k);
    return [...rows, ...(await applyAll(gateway, larger, "one entry changed in 100,000 names", "≤ 0.3 s"))];
  });

async function applyAll(
  gateway: TestGateway,
  policies: readonly PolicyText[],
  about: string,
  goal: string,
): Promise<readonly Row[]> {
  const runs: (readonly number[])[] = [];
  for (const policy of policies) {
    const commit = await gateway.commit(policy);
    await gateway.awaitStatus(commit, ["success"]);
    runs.push(stepTimesMs(await gateway.log(), commit));
  }
  const totals = runs.map((times) => times.reduce((sum, ms) => sum + ms, 0));
  const parts = events.map((event, index) => {
    const ms = median(runs.map((times) => times[index] ?? 0));
    return `${event} ${Math.round(ms)} ms (${Math.round((100 * ms) / median(totals))} %)`;
  });
  const how = `${policies.length} commits, median, from the log's times; until ${parts.join(", ")}`;
  return [{ what: `commit seen → confirmed, ${about}`, unit: "ms", ours: median(totals), other: null, goal, how }];
}

/** Returns the time of each step of one commit, in milliseconds. @throws Error when the log lacks one of them */
function stepTimesMs(log: readonly LogLine[], commit: string): readonly number[] {
  const start = log.findIndex((line) => line.event === "commit-seen" && line["commit"] === commit);
  const after = log.slice(start);
  let beforeMs = timeOf(after[0], "commit-seen");
  return events.map((event) => {
    const atMs = timeOf(
      after.find((line) => line.event === event),
      event,
    );
    const tookMs = atMs - beforeMs;
    beforeMs = atMs;
    return tookMs;
  });
}

function timeOf(line: LogLine | undefined, event: string): number {
  const timeMs = Date.parse(String(line?.["time"]));
  if (Number.isNaN(timeMs)) throw new Error(`the agent's log has no ${event} of the commit`);
  return timeMs;
}

function policyOf100k(changed: string): PolicyText {
  const many = Array.from({ length: 99_996 }, (_, index) => `host-${index}.service-${index % 100}.example.com`);
  return smallPolicy(`${changed}.allowed.test`, ...many);
}
