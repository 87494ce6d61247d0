import { startEnforcing } from "../apply/start-enforcing.ts";
import type { AgentCalls } from "../control/agent-calls.ts";
import { createAgentClient } from "../control/agent-client.ts";
import { createCycles, summarizeCycle } from "../control/cycles.ts";
import { judgeProposal } from "../control/judge-proposal.ts";
import { createProposals } from "../control/propose-policy.ts";
import { AgentError } from "../errors.ts";
import { findSocket } from "../host/find-socket.ts";
import { createLog } from "../host/log.ts";
import { lockInstance } from "../host/single-instance.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { writeStatusFile } from "../report/status-file.ts";
import { pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { closeAgent, openAgent } from "../start.ts";

type Work = Pick<AgentCalls, "poll" | "check" | "propose">;

/**
 * Returns the running agent; without one, this process does the same work in its place, under the same lock.
 * @throws AgentError STATE_LOCKED, STATE_CORRUPT, HOST_*
 */
export async function withAgent(settings: Settings, config: string): Promise<Work & { close(): Promise<void> }> {
  const paths = pathsOf(settings);
  if (await findSocket(paths.agentSocket)) {
    return { ...createAgentClient(paths.agentSocket), close: async () => {} };
  }
  const log = createLog("agent", 2);
  const lock = await lockInstance(paths.agentLock);
  try {
    const apply = await openApplyContext(settings, config, log);
    const failure = await startEnforcing(apply);
    if (failure !== null) throw new AgentError(failure.code, failure.message);
    const agent = await openAgent(settings, apply, log);
    const stop = new AbortController();
    const cycles = createCycles(agent, stop.signal, () => writeStatusFile(agent));
    return {
      poll: async () => summarizeCycle(await cycles.run()),
      check: (text) => judgeProposal(agent, Buffer.from(text)),
      propose: createProposals(agent, cycles),
      close: async () => {
        await closeAgent(agent);
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}
