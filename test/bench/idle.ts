import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import type { TestGateway } from "../support/gateway.ts";
import { openBenchGateway } from "./gateway.ts";
import { gatePid, residentMb } from "./processes.ts";
import { type Measure, withLab } from "./row.ts";
import { median } from "./statistics.ts";

/** Polls happen every second in the lab: the agent is as busy as an idle one ever is. */
const SETTLE_MS = 5_000;

/** Memory of agent and gate when nothing happens, and how long a short verb takes, beside a Node process that does nothing. */
export const measureIdle: Measure = ({ quick, say }) =>
  withLab(async (lab) => {
    const gateway = await openBenchGateway(lab);
    const agent = gateway.start();
    await gateway.awaitStatus(await gateway.head(), ["success"]);
    const bare = lab.spawn("gateway", [process.execPath, "-e", "setInterval(() => {}, 60_000)"]);
    const settleMs = quick ? 500 : SETTLE_MS;
    await sleepMs(settleMs);
    const bareMb = await residentMb(bare.pid);
    const memory = async (what: string, pid: number, goal: string) => ({
      ...{ what: `resident memory, ${what}`, unit: "MB" as const, ours: await residentMb(pid), goal },
      other: { what: "bare Node", value: bareMb },
      how: `VmRSS ${settleMs / 1000} s after the first apply, polling every second, small policy`,
    });
    const rows = [
      await memory("idle agent", agent.pid, "≤ 110 MB"),
      await memory("idle gate", await gatePid(gateway), "≤ 90 MB"),
    ];
    say("start of a verb");
    return [...rows, await measureStart(gateway, quick ? 2 : 10)];
  });

async function measureStart(gateway: TestGateway, rounds: number) {
  const ms = { ours: [] as number[], bare: [] as number[] };
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const startedMs = monotonicMs();
    await work();
    return monotonicMs() - startedMs;
  };
  for (let round = 0; round < rounds; round += 1) {
    ms.ours.push(await timed(() => gateway.clawgress(["status", "--config", gateway.configFile])));
    ms.bare.push(await timed(() => runChecked([process.execPath, "-e", "0"], { timeoutMs: 10_000 })));
  }
  return {
    ...{ what: "clawgress status, whole run", unit: "ms" as const, ours: median(ms.ours), goal: null },
    other: { what: "bare Node", value: median(ms.bare) },
    how: `${rounds} runs in turns, median`,
  };
}
