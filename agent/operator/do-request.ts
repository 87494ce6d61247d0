import { rm } from "node:fs/promises";
import type { Agent } from "../agent.ts";
import { removeHold } from "../apply/hold-notes.ts";
import { toAgentError } from "../errors.ts";
import { type OperatorAnswer, type OperatorRequest, refusal } from "./requests.ts";
import { rollBack } from "./roll-back.ts";

/** Does what an operator asks and returns the answer; never throws. Runs in turn with applies and repairs. */
export async function doRequest(agent: Agent, request: OperatorRequest): Promise<OperatorAnswer> {
  try {
    return await agent.apply.inTurn(() => doInTurn(agent, request));
  } catch (error) {
    return refusal(toAgentError(error, "APPLY_FAILED", `${request.verb} failed`));
  }
}

async function doInTurn(agent: Agent, request: OperatorRequest): Promise<OperatorAnswer> {
  if (request.verb === "rollback") {
    const { serial, commit } = await rollBack(agent, request);
    return { ok: true, message: `in force again: serial ${serial}, commit ${commit}` };
  }
  if (request.retry) await rm(agent.paths.badReleases, { force: true });
  agent.memory.settledCommit = null;
  agent.memory.fight.forget();
  await removeHold(agent.paths.fight);
  agent.memory.mayHealOnce = true;
  return { ok: true, message: "the next poll looks at the head again" };
}
