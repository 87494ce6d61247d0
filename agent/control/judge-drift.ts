import type { Agent } from "../agent.ts";
import { writeFight } from "../apply/fight.ts";
import { enforceConfirmed } from "../apply/start-enforcing.ts";
import { bootTimeMs, nowMs } from "../host/clock.ts";
import { noteDrift } from "../report/agent-memory.ts";
import { tellClosed } from "../report/tell-restored.ts";

/**
 * Remembers that something was put back which another program had changed. When that happens again and again, what is
 * enforced cannot be relied on: everything but the lifeline is closed for a while, loudly, and then tried anew.
 */
export async function judgeDrift(agent: Agent, what: string): Promise<void> {
  const { apply, log, memory, paths } = agent;
  noteDrift(memory.activity, nowMs());
  const holdMs = memory.fight.note(bootTimeMs());
  if (holdMs === null) return;
  log.error({ event: "drift-fight", what, holdMs });
  const failure = await apply.inTurn(() =>
    apply.locked(async () => {
      await writeFight(paths.fight, { what, untilBootMs: bootTimeMs() + holdMs });
      return await enforceConfirmed(apply, null);
    }),
  );
  if (failure !== null) await tellClosed(agent, failure);
}
