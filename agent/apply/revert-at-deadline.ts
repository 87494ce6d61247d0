import { toAgentError } from "../errors.ts";
import { bootTimeMs, nowMs, sleepMs } from "../host/clock.ts";
import { rememberBadRelease } from "./bad-releases.ts";
import { BREAK_GLASS_SERIAL } from "./break-glass-serial.ts";
import type { ApplyContext } from "./context.ts";
import { heldBy, readHold } from "./hold-notes.ts";
import { fallToLifeline } from "./lifeline.ts";
import { openRelease } from "./release-store.ts";
import { restoreRelease } from "./restore.ts";
import { type TimerNote, writeTimerNote } from "./timer-note.ts";
import { notConfirmed, readTransaction, type Transaction, winTransaction } from "./transaction.ts";

/** How often it looks whether the transaction is over, when nobody tells it. */
const LOOK_MS = 250;

/**
 * Waits until a transaction is over or its deadline comes; then, if it wins, puts the old release back, remembers the new
 * one as bad, and leaves a note for the agent. `wake` aborts when the agent closes its end or dies: then it looks at once.
 */
export async function revertAtDeadline(
  context: ApplyContext,
  transaction: Transaction,
  wake: AbortSignal,
): Promise<void> {
  const { paths, log } = context;
  const { id, deadlineMs } = transaction;
  for (;;) {
    if ((await readTransaction(paths.transaction, "armed"))?.id !== id) return;
    const leftMs = deadlineMs - bootTimeMs();
    if (leftMs <= 0) break;
    const pauseMs = Math.min(leftMs, LOOK_MS);
    await sleepMs(pauseMs, wake.aborted ? undefined : wake).catch(() => {
      // Woken: look now.
    });
  }
  if (!(await winTransaction(paths.transaction, "reverting"))) return;
  log.warn({ event: "apply-reverting", ...transaction });
  await context.locked(() => revertWon(context));
}

/** The record that was won is what counts, not what was told: should another have been armed meanwhile, that one is undone. */
async function revertWon(context: ApplyContext): Promise<void> {
  const { paths, log } = context;
  const won = await readTransaction(paths.transaction, "reverting");
  // An agent that was faster to the lock has undone it.
  if (won === null) return;
  const lockdown = await readHold(paths.lockdown);
  if (lockdown !== null) return await fallToLifeline(context, heldBy("HELD_LOCKDOWN", lockdown), "lockdown");
  const { commit, serial } = won;
  // Before the revert, so that no crash loses them; a disk that is full must not hold it up. What ends as it was meant to
  // is no failure of its release.
  if (!isBreakGlass(won)) await note(context, won, "reverted", notConfirmed().message);
  try {
    const previous = await openRelease(paths.releases, won.previous);
    await restoreRelease(context, { ...previous, tableDigest: won.previousTable });
    log.warn({ event: "apply-reverted", release: previous.digest, commit, serial });
  } catch (caught) {
    const error = toAgentError(caught, "APPLY_REVERT_FAILED", "the old release could not be restored");
    await fallToLifeline(context, error, "rollback-failed");
    if (!isBreakGlass(won)) await note(context, won, "rollback-failed", error.message);
  }
}

function isBreakGlass({ serial }: Transaction): boolean {
  return serial === BREAK_GLASS_SERIAL;
}

async function note(
  { paths, log }: ApplyContext,
  { next: digest, commit, serial }: Transaction,
  outcome: TimerNote["outcome"],
  message: string,
): Promise<void> {
  const at = new Date(nowMs()).toISOString();
  try {
    await rememberBadRelease(paths.badReleases, { digest, commit, serial, reason: message, at });
    await writeTimerNote(paths.timerNote, { commit, serial, outcome, message, at });
  } catch (error) {
    log.error({ event: "timer-note-lost", outcome, reason: (error as Error).message });
  }
}
