import { randomBytes } from "node:crypto";
import { AgentError, toAgentError, toStepError } from "../errors.ts";
import { judgeProbes } from "../health/judge.ts";
import type { ProbeResult } from "../health/probe.ts";
import { type ReadyProbes, startProbes } from "../health/run-probes.ts";
import { bootTimeMs, monotonicMs } from "../host/clock.ts";
import { takeBallast } from "./ballast.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { reopenEnforced } from "./enforced.ts";
import { heldBy, readHold } from "./hold-notes.ts";
import { fallToLifeline } from "./lifeline.ts";
import { removeLifeline } from "./lifeline-note.ts";
import { readBackOrPutWhole } from "./read-back.ts";
import { restoreRelease } from "./restore.ts";
import type { RevertTimer } from "./revert-timer-client.ts";
import { type Guard, swapRelease } from "./swap.ts";
import {
  armTransaction,
  closeConfirmed,
  closeRevert,
  confirmInTime,
  notConfirmed,
  readTransaction,
  requireArmed,
  type Transaction,
  winTransaction,
} from "./transaction.ts";

export type ApplyOutcome =
  | { readonly kind: "confirmed"; readonly failedBefore: readonly ProbeResult[]; readonly tookMs: number }
  | { readonly kind: "reverted" | "rollback-failed"; readonly error: AgentError; readonly tookMs: number };

export type ExtraProbes = () => Promise<readonly ProbeResult[]>;

/** What an apply moves between, and who asked for it. */
export interface Change {
  readonly next: CheckedRelease;
  /** What was in force when the change was staged. */
  readonly previous: CheckedRelease;
  readonly commit: string;
  readonly serial: number;
  /** Started already; it is told about this change before anything is changed. */
  readonly timer: RevertTimer;
  /** What the probes said before the change: @see rehearse. */
  readonly before: readonly ProbeResult[];
  /** Probes that only the caller can make, such as fetching the head again; they run with the others. */
  readonly extraProbes: ExtraProbes;
  /**
   * Moves the confirmed pointer. Called once, after the transaction is won. When a crash comes first, the record of the
   * transaction says that it was won, and the next start moves the pointer.
   */
  readonly onConfirm: () => Promise<void>;
}

/**
 * Step 2, rehearse: runs every probe before anything is changed. What does not pass now proves nothing about the change.
 * It needs nothing of the new release, so it may run while that is staged.
 */
export async function rehearse(
  context: ApplyContext,
  extraProbes: ExtraProbes,
  ready: ReadyProbes = startProbes(context.settings, context),
): Promise<readonly ProbeResult[]> {
  const results = await Promise.all([ready.run(), extraProbes()]);
  return results.flat();
}

/**
 * Makes a checked release the enforced one: steps 3 to 7 of the protocol. Returns `confirmed` when it is in force, read
 * back and healthy; `reverted` with the reason when the previous release is in force again, read back; `rollback-failed`
 * when neither is: then only the lifeline is open.
 * To be run in turn with whatever else moves between releases.
 * @throws AgentError APPLY_NO_TIMER, STATE_CORRUPT, APPLY_CHECK_FAILED, HOST_FILE when nothing was changed.
 */
export async function applyRelease(context: ApplyContext, staged: Change): Promise<ApplyOutcome> {
  const { log, paths, step } = context;
  const startedAtMs = monotonicMs();
  // An operator may have rolled back, or a broken glass have ended, while this change was staged.
  const previous = await reopenEnforced(context, staged.previous);
  const change = { ...staged, previous };
  const { next, commit, serial } = change;
  const elapsedMs = (): number => Math.round(monotonicMs() - startedAtMs);

  await takeBallast(context, previous);
  const transaction = await arm(context, change);
  log.info({ event: "apply-armed", ...transaction });
  let failedBefore: readonly ProbeResult[];
  try {
    failedBefore = await swapAndProbe(context, change, transaction.id);
    await step("7-confirm", async () => {
      if (!(await confirmInTime(paths.transaction, transaction))) throw notConfirmed();
    });
  } catch (caught) {
    const undone = await undo(context, previous, toStepError(caught, "the swap failed"));
    log.warn({ event: `apply-${undone.kind}`, release: previous.digest, commit, serial, tookMs: elapsedMs() });
    return { ...undone, tookMs: elapsedMs() };
  } finally {
    change.timer.dismiss();
  }
  // Won: from here there is only forward. Whatever fails now, the next cycle or start moves the pointer.
  await step("7-pointer", change.onConfirm);
  await closeConfirmed(paths.transaction);
  await closeRevert(paths.transaction);
  if (await removeLifeline(paths.lifeline)) log.info({ event: "lifeline-left" });
  log.info({ event: "apply-confirmed", release: next.digest, commit, serial, tookMs: elapsedMs() });
  return { kind: "confirmed", failedBefore, tookMs: elapsedMs() };
}

/** Steps 4 to 6. Returns the probes that fail but failed before the change as well. @throws AgentError why it cannot stay */
async function swapAndProbe(context: ApplyContext, change: Change, id: string): Promise<readonly ProbeResult[]> {
  const { log, paths, step } = context;
  const { next, previous } = change;
  const guard: Guard = () => requireArmed(paths.transaction, id);
  await context.locked(() => swapRelease(context, next, guard, previous));
  log.info({ event: "apply-swapped", release: next.digest });
  const putWhole = () => context.locked(() => swapRelease(context, next, guard));
  await step("5-read-back", () => readBackOrPutWhole(context, next, putWhole));
  log.info({ event: "apply-read-back", release: next.digest });
  const after = await step("6-probe", () => rehearse(context, change.extraProbes));
  const verdict = judgeProbes(change.before, after);
  if (!verdict.healthy) throw describeBlame(verdict.blamed);
  return verdict.failedBefore;
}

/** Step 3, arm: the record first, then the timer that reads it; only then may anything change. */
async function arm(context: ApplyContext, change: Change): Promise<Transaction> {
  const { paths, settings, step } = context;
  const { next, previous, commit, serial, timer } = change;
  const transaction: Transaction = {
    id: randomBytes(16).toString("hex"),
    ...{ next: next.digest, nextTable: next.tableDigest },
    ...{ previous: previous.digest, previousTable: previous.tableDigest, commit, serial },
    deadlineMs: bootTimeMs() + settings.health.confirmTimeoutMs,
  };
  await step("3-arm", () => armTransaction(paths.transaction, transaction));
  try {
    await step("3-timer", () => timer.arm(transaction.id));
  } catch (error) {
    await winTransaction(paths.transaction, "reverting");
    await closeRevert(paths.transaction);
    timer.dismiss();
    throw error;
  }
  return transaction;
}

/**
 * Puts the old release back unless the timer has, and returns why: what went wrong here, or that the timer was first.
 * When it cannot be put back, everything is closed.
 */
async function undo(
  context: ApplyContext,
  previous: CheckedRelease,
  error: AgentError,
): Promise<{ readonly kind: "reverted" | "rollback-failed"; readonly error: AgentError }> {
  const { paths, log } = context;
  const isWon = await winTransaction(paths.transaction, "reverting");
  const reason = isWon ? error : notConfirmed();
  log.warn({ event: "apply-reverting", code: reason.code, reason: reason.message, byTimer: !isWon });
  return await context.locked(async () => {
    const lockdown = await readHold(paths.lockdown);
    if (lockdown !== null) {
      // The record stays, so that the old release is put back from scratch when the lockdown ends.
      const held = heldBy("HELD_LOCKDOWN", lockdown);
      await fallToLifeline(context, held, "lockdown");
      return { kind: "reverted", error: held };
    }
    try {
      const reverting = await readTransaction(paths.transaction, "reverting");
      if (reverting !== null) await restoreRelease(context, previous);
      return { kind: "reverted", error: reason };
    } catch (caught) {
      const failure = describeFailure(toAgentError(caught, "APPLY_REVERT_FAILED", "the revert failed"), reason);
      await fallToLifeline(context, failure, "rollback-failed");
      return { kind: "rollback-failed", error: failure };
    }
  });
}

function describeFailure(failure: AgentError, reason: AgentError): AgentError {
  const text = `${failure.message}; only the lifeline is open. It was undone because of ${reason.code}: ${reason.message}`;
  return new AgentError("APPLY_REVERT_FAILED", text, {
    remedy: "see the log for the step that failed; every poll tries again",
    cause: failure,
  });
}

function describeBlame(blamed: readonly ProbeResult[]): AgentError {
  const [first] = blamed;
  const others = blamed.length > 1 ? ` (and ${blamed.length - 1} more)` : "";
  return new AgentError("HEALTH_FAILED", `probe "${first?.name}" fails${others}: ${first?.detail}`, {
    details: { probes: blamed.map(({ name, detail }) => ({ name, detail })) },
  });
}
