import type { Agent } from "../agent.ts";
import { readLifeline } from "../apply/lifeline-note.ts";
import { AgentError } from "../errors.ts";
import { sleepMs } from "../host/clock.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { ServiceManager } from "../host/service-manager.ts";
import type { Settings } from "../settings/settings.ts";
import type { Liveness } from "./liveness.ts";

/** So many in the time in which one is due: a busy machine may be late. */
const SIGNS_OF_LIFE = 4;

/**
 * Tells systemd that the agent lives, for as long as it does: what hangs is started again, and what is enforced stays as it
 * is meanwhile.
 */
export async function keepAlive(
  { log }: Agent,
  manager: ServiceManager,
  liveness: Liveness,
  signal: AbortSignal,
): Promise<void> {
  if (manager.watchdogMs === null) return;
  const everyMs = manager.watchdogMs / SIGNS_OF_LIFE;
  while (!signal.aborted) {
    const stuck = liveness.findStuck();
    if (stuck === null) manager.alive();
    else log.error({ event: "agent-stuck", reason: stuck });
    await sleepMs(everyMs, signal).catch(() => {
      // Told to stop: the loop's condition ends it.
    });
  }
}

/** One line for `systemctl status`. */
export async function tellManager({ paths, memory, log }: Agent, manager: ServiceManager): Promise<void> {
  if (!manager.isThere) return;
  try {
    const lifeline = await readLifeline(paths.lifeline);
    const { confirmed } = await readPointers(paths.pointers);
    const inForce = confirmed.release === null ? "nothing is confirmed" : `serial ${confirmed.serial} is enforced`;
    const last = memory.last === null ? "" : `; last cycle: ${memory.last.outcome.kind}`;
    manager.status(lifeline === null ? `${inForce}${last}` : `only the lifeline is open: ${lifeline.code}${last}`);
  } catch (error) {
    log.warn({ event: "status-untold", reason: (error as Error).message });
  }
}

/**
 * A unit ends what it has started, or holds it in its own sandbox, so programs that must outlive the agent are no children of
 * it there. @throws AgentError SETTINGS_INVALID
 */
export function checkDriver({ driver }: Settings, manager: ServiceManager): void {
  if (!manager.isThere || driver === "systemd") return;
  throw new AgentError(
    "SETTINGS_INVALID",
    'systemd runs this agent as a unit of Type=notify, and driver is "process"',
    {
      remedy: 'write "driver": "systemd" in agent.json',
    },
  );
}
