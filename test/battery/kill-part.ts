import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { readProcess } from "../../agent/host/process-table.ts";
import type { GatewayStatus } from "../../agent/report/gateway-status.ts";
import { eventually, PATIENCE } from "../support/eventually.ts";
import { type Attempt, gainedIf, inVain } from "./scenario.ts";
import type { Stage } from "./scene.ts";

/** Kills one of the gateway's processes, after the agent that would start it again. Does nothing before an open gateway. */
export async function killForGood(stage: Stage, part: "gate" | "named" | "proxy"): Promise<void> {
  const { gateway } = stage;
  if (gateway === null) return;
  await stage.killAgent();
  const text = await readFile(join(gateway.folder, "run", `${part}.pid.json`), "utf8");
  const { pid } = JSON.parse(text) as { readonly pid: number };
  process.kill(pid, "SIGKILL");
  // What still reaches a process that dies is answered by nobody.
  await eventually(`${part} is gone`, async () => (await readProcess(pid)) === null);
}

/** The gate asks named every 5 s whether it is there. */
const TOLD_WITHIN_MS = 8_000 * PATIENCE;

/** Returns an attempt that gains when status does not say what is wrong, and that something is. */
export async function toldByStatus({ gateway }: Stage, text: string): Promise<Attempt> {
  if (gateway === null) return inVain("an open gateway has no status", gainedIf("status", false));
  const startedMs = monotonicMs();
  for (;;) {
    const { stdout, exitCode } = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
    const { ok, degraded } = JSON.parse(stdout) as GatewayStatus;
    if (!ok && exitCode !== 0 && degraded.some((line) => line.startsWith(text))) return gainedIf("status", false);
    if (monotonicMs() - startedMs > TOLD_WITHIN_MS) {
      return gainedIf(`status does not say that ${text}, but ${ok} and ${degraded.join("; ")}`, true);
    }
    await sleepMs(200);
  }
}

/** Starts the agent again and resolves when status has nothing to say. */
export async function startAgain(stage: Stage): Promise<void> {
  const { gateway } = stage;
  if (gateway === null) return;
  stage.startAgent();
  await eventually("all runs again", async () => {
    return (await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).exitCode === 0;
  });
}
