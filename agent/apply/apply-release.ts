import { AgentError, toAgentError } from "../errors.ts";
import { judgeProbes } from "../health/judge.ts";
import type { ProbeResult } from "../health/probe.ts";
import { longestProbeMs, runProbes } from "../health/run-probes.ts";
import { monotonicMs } from "../host/clock.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { openEnforced } from "./enforced.ts";
import { readBack } from "./read-back.ts";
import { swapRelease } from "./swap.ts";
import { armTransaction, closeRevert, readUnfinished, type Transaction, winTransaction } from "./transaction.ts";

export type ApplyOutcome =
  | { readonly kind: "confirmed"; readonly failedBefore: readonly ProbeResult[]; readonly tookMs: number }
  | { readonly kind: "reverted"; readonly error: AgentError; readonly tookMs: number };

export type ExtraProbes = () => Promise<readonly ProbeResult[]>;

/** What an apply moves between, and who asked for it. */
export interface Change {
  readonly next: CheckedRelease;
  readonly previous: CheckedRelease;
  readonly commit: string;
  readonly serial: number;
  /** What the probes said before the change: @see rehearse. */
  readonly before: readonly ProbeResult[];
  /** Probes that only the caller can make, such as fetching the head again; they run with the others. */
  readonly extraProbes: ExtraProbes;
  /**
   * Moves the confirmed pointer. Called once, after the transaction is won. The pointer is what a restart believes: a
   * crash just before it moves means the previous release, which the next poll follows by this one again.
   */
  readonly onConfirm: () => Promise<void>;
}

/**
 * Step 2, rehearse: runs every probe before anything is changed. What does not pass now proves nothing about the change.
 * It needs nothing of the new release, so it may run while that is staged.
 */
export async function rehearse(context: ApplyContext, extraProbes: ExtraProbes): Promise<readonly ProbeResult[]> {
  const { settings, programFolder } = context;
  const results = await Promise.all([runProbes(settings, { programFolder }), extraProbes()]);
  return results.flat();
}

/**
 * Makes a checked release the enforced one: steps 3 to 7 of the protocol. Returns `confirmed` when it is in force, read
 * back and healthy, or `reverted` with the reason when the previous release is in force again, read back.
 * @throws AgentError APPLY_REVERT_FAILED when neither holds; what is enforced is then the tighter of the two at each layer.
 */
export async function applyRelease(context: ApplyContext, change: Change): Promise<ApplyOutcome> {
  const { log, paths } = context;
  const startedAtMs = monotonicMs();
  const { next, previous, commit, serial } = change;
  const elapsedMs = (): number => Math.round(monotonicMs() - startedAtMs);

  // 3. arm
  const transaction: Transaction = { next: next.digest, previous: previous.digest, commit, serial };
  await armTransaction(paths.armed, transaction);
  log.info({ event: "apply-armed", ...transaction });

  try {
    // 4. swap, 5. read back
    await swapRelease(context, next);
    await readBack(context, next);
    log.info({ event: "apply-swapped", release: next.digest, tookMs: elapsedMs() });
    // 6. probe
    const verdict = judgeProbes(change.before, await rehearse(context, change.extraProbes));
    if (!verdict.healthy) throw describeBlame(verdict.blamed);
    if (elapsedMs() > context.settings.health.confirmTimeoutMs + longestProbeMs(context.settings.health)) {
      throw new AgentError("HEALTH_FAILED", `the change was not confirmed within ${elapsedMs()} ms`);
    }
    // 7. confirm
    if (!(await winTransaction(paths.armed, "confirmed"))) {
      throw new AgentError("APPLY_FAILED", "the change was reverted while it was being confirmed");
    }
    await change.onConfirm();
    log.info({ event: "apply-confirmed", release: next.digest, commit, serial, tookMs: elapsedMs() });
    return { kind: "confirmed", failedBefore: verdict.failedBefore, tookMs: elapsedMs() };
  } catch (caught) {
    const error = toAgentError(caught, "APPLY_FAILED", "the swap failed");
    log.warn({ event: "apply-reverting", code: error.code, reason: error.message, commit, serial });
    await revertRelease(context, previous);
    log.warn({ event: "apply-reverted", release: previous.digest, tookMs: elapsedMs() });
    return { kind: "reverted", error, tookMs: elapsedMs() };
  }
}

/**
 * Step 7, revert: puts a release back in force and reads it back. Also finishes what a crash left in flight.
 * @throws AgentError APPLY_REVERT_FAILED
 */
export async function revertRelease(context: ApplyContext, previous: CheckedRelease): Promise<void> {
  await winTransaction(context.paths.armed, "reverting");
  try {
    await swapRelease(context, previous);
    await readBack(context, previous);
  } catch (error) {
    throw new AgentError("APPLY_REVERT_FAILED", `the old release could not be restored: ${(error as Error).message}`, {
      remedy: "see the log for the step that failed; `clawgress run` tries again by itself, `clawgress sync` once",
      cause: error,
    });
  }
  await closeRevert(context.paths.armed);
}

/**
 * Ends what an earlier revert could not: puts the enforced release back when a transaction was left open. Returns whether
 * there was one. To be called in turn with applies. @throws AgentError APPLY_REVERT_FAILED; the next call tries again
 */
export async function finishRevert(context: ApplyContext): Promise<boolean> {
  if ((await readUnfinished(context.paths.armed)) === null) return false;
  await revertRelease(context, await openEnforced(context));
  return true;
}

function describeBlame(blamed: readonly ProbeResult[]): AgentError {
  const [first] = blamed;
  const others = blamed.length > 1 ? ` (and ${blamed.length - 1} more)` : "";
  return new AgentError("HEALTH_FAILED", `probe "${first?.name}" fails${others}: ${first?.detail}`, {
    details: { probes: blamed.map(({ name, detail }) => ({ name, detail })) },
  });
}
