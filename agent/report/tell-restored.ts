import type { Agent } from "../agent.ts";
import type { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";

/** Reports on the confirmed commit that it is no longer in force: only the lifeline is open. */
export async function tellClosed(agent: Agent, because: AgentError): Promise<void> {
  const { commit } = (await readPointers(agent.paths.pointers)).confirmed;
  const { code, message } = because;
  if (commit !== null) await agent.reporter?.post(commit, { kind: "closed", code, message });
}

/** Reports on the confirmed commit that it is in force again. */
export async function tellRestored(agent: Agent): Promise<void> {
  const { commit, serial } = (await readPointers(agent.paths.pointers)).confirmed;
  if (commit !== null) await agent.reporter?.post(commit, { kind: "restored", serial });
}
