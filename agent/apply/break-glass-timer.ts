import { randomBytes } from "node:crypto";
import { BREAK_GLASS_SERIAL } from "./break-glass-serial.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { startRevertTimer } from "./revert-timer-client.ts";
import { armTransaction, closeConfirmed, readTransaction, winTransaction } from "./transaction.ts";

/**
 * Starts a process that puts a release back at a time, whatever becomes of this one. It watches a transaction in a folder
 * of its own, so that changes go on beside it. @throws AgentError APPLY_NO_TIMER when it does not run
 */
export async function startBreakGlassTimer(
  context: ApplyContext,
  back: CheckedRelease,
  next: string,
  deadlineMs: number,
): Promise<void> {
  const folder = context.paths.breakGlassTransaction;
  const timer = await startRevertTimer(context);
  const id = randomBytes(16).toString("hex");
  const transaction = {
    // Its table is not kept: what stands then is not known, and what goes back is loaded whole.
    ...{ id, next, nextTable: "" },
    ...{ previous: back.digest, previousTable: back.tableDigest, commit: "" },
  };
  await armTransaction(folder, { ...transaction, serial: BREAK_GLASS_SERIAL, deadlineMs });
  try {
    await timer.arm(id, folder);
  } catch (error) {
    await stopBreakGlassTimer(context);
    throw error;
  } finally {
    timer.dismiss();
  }
}

/** Lets the process end without doing anything. Returns false when it has begun. */
export async function stopBreakGlassTimer({ paths }: ApplyContext): Promise<boolean> {
  const folder = paths.breakGlassTransaction;
  const isStopped = await winTransaction(folder, "confirmed");
  await closeConfirmed(folder);
  return isStopped || (await readTransaction(folder, "reverting")) === null;
}
