import type { Agent } from "../agent.ts";
import { heldBy, readHold, requireNoLockdown } from "../apply/hold-notes.ts";
import type { Cycle, StepResult } from "../cycle.ts";

/** Ends the cycle while an operator holds the gateway: the commit is verified, and applied once they let it. */
export async function waitForOperator({ paths }: Agent, _cycle: Cycle): Promise<StepResult> {
  await requireNoLockdown(paths);
  const suspended = await readHold(paths.suspended);
  if (suspended !== null) throw heldBy("HELD_SUSPENDED", suspended);
  return {};
}
