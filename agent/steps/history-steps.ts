import type { Agent } from "../agent.ts";
import { type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";

/**
 * Refuses a head from which no way leads back to the commit that was verified last: history only goes forward. It comes after
 * the approvals, so that only what was approved is worth the server's work, and before anything is remembered.
 */
export async function checkHistory(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const head = need(cycle.commit, "head");
  const { commit: floor } = (await readPointers(agent.paths.pointers)).verified;
  if (floor === null) return {};
  const relation = await agent.source.relate(floor, head, cycle.signal);
  if (relation === "same" || relation === "forward") return {};
  const details = { floor, head };
  if (relation === "behind") {
    throw new AgentError(
      "TRUST_ROLLBACK",
      `the head ${head} is older than ${floor}, which this gateway verified before`,
      {
        remedy: "push the branch forward again; to go back to an older text, commit it anew (`git revert`)",
        details,
      },
    );
  }
  throw new AgentError(
    "TRUST_APART",
    `the head ${head} does not descend from ${floor}, which this gateway verified before`,
    {
      remedy: `find out who replaced the history; when it is right, join the two: \`git merge -s ours ${floor}\`, and push`,
      details,
    },
  );
}
