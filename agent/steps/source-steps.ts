import type { Agent } from "../agent.ts";
import { type Cycle, need, type StepResult } from "../cycle.ts";
import { nowMs } from "../host/clock.ts";
import { notePoll } from "../report/agent-memory.ts";

/** Asks for the head of the branch; a head that was settled before ends the cycle. */
export async function pollHead(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const commit = await agent.source.poll(cycle.signal);
  notePoll(agent.memory.activity, commit, nowMs());
  if (commit === agent.memory.settledCommit) return { done: { kind: "unchanged", commit } };
  agent.log.info({ event: "commit-seen", commit });
  return { commit };
}

/** Fetches the commit and says on it that it was seen: at once, beside the work, which does not wait for the forge. */
export async function openHead(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const commit = need(cycle.commit, "head");
  await agent.reporter?.post(commit, { kind: "seen" });
  agent.reporter?.drain(cycle.signal).catch((error: Error) => {
    agent.log.warn({ event: "report-failed", reason: error.message });
  });
  return { reader: await agent.source.open(commit, cycle.signal) };
}
