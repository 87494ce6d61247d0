import { AgentError } from "../errors.ts";
import { dropBallast } from "./ballast.ts";
import { ensureBase } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { ensureGate } from "./gate-service.ts";
import { digestPolicyTable } from "./kernel.ts";
import { removeLifeline } from "./lifeline-note.ts";
import { readBack, readBackOrPutWhole } from "./read-back.ts";
import { openRelease, type StoredRelease } from "./release-store.ts";
import { swapRelease } from "./swap.ts";
import { closeRevert, readTransaction } from "./transaction.ts";

/**
 * Step 7, revert: puts a release back in force from whatever stands, reads it back, and closes the revert. Runs under the
 * apply lock; doing it again changes nothing, and it ends a fall to the lifeline. The same for the agent, its revert timer and a start after a crash.
 * Rules that read as those of one of the two releases are changed by what differs, so that no flow which goes on notices.
 * @throws AgentError APPLY_REVERT_FAILED
 */
export async function restoreRelease(context: ApplyContext, previous: CheckedRelease): Promise<void> {
  const { paths, log } = context;
  try {
    await dropBallast(context);
    await ensureBase(context);
    await ensureGate(context);
    const from = await findStanding(context, previous);
    await swapRelease(context, previous, noGuard, from);
    if (from === null) await readBack(context, previous);
    else await readBackOrPutWhole(context, previous, () => swapRelease(context, previous, noGuard));
  } catch (error) {
    throw new AgentError("APPLY_REVERT_FAILED", `the old release could not be restored: ${(error as Error).message}`, {
      remedy: "see the log for the step that failed; `clawgress sync` tries again",
      cause: error,
    });
  }
  await closeRevert(paths.transaction);
  if (await removeLifeline(paths.lifeline)) log.info({ event: "lifeline-left" });
}

/** Who has won the revert may do all of it. */
const noGuard = async (): Promise<void> => {};

/** Returns the release whose rules the kernel has, of that which goes back in force and that which goes; null when they are another's. */
async function findStanding(context: ApplyContext, previous: CheckedRelease): Promise<StoredRelease | null> {
  const { paths, digests } = context;
  const table = await digestPolicyTable().catch(() => null);
  if (table === null) return null;
  if (table === previous.tableDigest) return previous;
  const gone = await readTransaction(paths.transaction, "reverting");
  if (gone?.nextTable !== table) return null;
  return await openRelease(paths.releases, gone.next, digests).catch(() => null);
}
