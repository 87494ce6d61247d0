import { AgentError } from "../errors.ts";
import { dropBallast } from "./ballast.ts";
import { ensureBase } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { ensureGate } from "./gate-service.ts";
import { removeLifeline } from "./lifeline-note.ts";
import { readBack } from "./read-back.ts";
import { swapRelease } from "./swap.ts";
import { closeRevert } from "./transaction.ts";

/**
 * Step 7, revert: puts a release back in force from whatever stands, reads it back, and closes the revert. Runs under the
 * apply lock; doing it again changes nothing, and it ends a fall to the lifeline. The same for the agent, its revert timer and a start after a crash.
 * @throws AgentError APPLY_REVERT_FAILED
 */
export async function restoreRelease(context: ApplyContext, previous: CheckedRelease): Promise<void> {
  const { paths, log } = context;
  try {
    await dropBallast(context);
    await ensureBase(context);
    await ensureGate(context);
    await swapRelease(context, previous, async () => {});
    await readBack(context, previous);
  } catch (error) {
    throw new AgentError("APPLY_REVERT_FAILED", `the old release could not be restored: ${(error as Error).message}`, {
      remedy: "see the log for the step that failed; `clawgress sync` tries again",
      cause: error,
    });
  }
  await closeRevert(paths.transaction);
  if (await removeLifeline(paths.lifeline)) log.info({ event: "lifeline-left" });
}
