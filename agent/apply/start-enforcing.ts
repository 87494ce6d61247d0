import { type AgentError, toAgentError } from "../errors.ts";
import { ensureProbeNamespace } from "../health/namespace.ts";
import { nowMs } from "../host/clock.ts";
import { assertOwnState, readPointers, writeConfirmed } from "../host/pointer-store.ts";
import { probeAddresses } from "../settings/settings.ts";
import { enableForwarding, ensureBase } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import { clearScratch } from "./clear-scratch.ts";
import type { ApplyContext } from "./context.ts";
import { openConfirmed } from "./enforced.ts";
import { requireNoFight } from "./fight.ts";
import { ensureGate } from "./gate-service.ts";
import { requireNoLockdown } from "./hold-notes.ts";
import { fallToLifeline } from "./lifeline.ts";
import { readLifeline, removeLifeline } from "./lifeline-note.ts";
import { tryPacketLog } from "./packet-log-service.ts";
import { readBack } from "./read-back.ts";
import { restoreRelease } from "./restore.ts";
import { closeConfirmed, readTransaction, winTransaction } from "./transaction.ts";

/**
 * Makes what the confirmed pointer says true, from whatever a start, a crash or a reboot left: the base table first, so
 * that nothing is open meanwhile; then gate, named and the release; forwarding last. What reads back as in force already
 * is not touched. Needs neither network nor Git. Returns null, or why only the lifeline is open.
 * @throws AgentError STATE_CORRUPT; APPLY_FAILED when not even the base table can be loaded: then nothing is forwarded.
 */
export async function startEnforcing(context: ApplyContext): Promise<AgentError | null> {
  const { settings, paths, log } = context;
  await assertOwnState(paths.pointers, { gateway: settings.gateway, repository: settings.repository.name });
  // A timer that still waits finds nothing to do and ends; one that has won is waited for, or found dead.
  const unfinished = await readTransaction(paths.transaction, "armed");
  if (await winTransaction(paths.transaction, "reverting")) log.warn({ event: "apply-unfinished", ...unfinished });
  return await context.locked(async () => {
    await ensureBase(context);
    await settleConfirmed(context);
    const failure = await enforceConfirmed(context, null);
    await tryPacketLog(context);
    await enableForwarding();
    await clearScratch();
    await ensureProbeNamespace(settings.health.namespace, probeAddresses(settings.health));
    return failure;
  });
}

/**
 * Moves the confirmed pointer to a transaction that was won for confirming, when a crash or a full disk came between.
 * @throws AgentError STATE_CORRUPT, HOST_FILE
 */
export async function settleConfirmed({ paths, log }: ApplyContext): Promise<void> {
  const won = await readTransaction(paths.transaction, "confirmed");
  if (won === null) return;
  const { confirmed } = await readPointers(paths.pointers);
  const isNews = confirmed.release !== won.next || confirmed.commit !== won.commit;
  if (won.next !== "" && isNews && won.serial >= confirmed.serial) {
    const { next: release, serial, commit } = won;
    await writeConfirmed(paths.pointers, { release, serial, commit, at: new Date(nowMs()).toISOString(), whole: null });
    log.warn({ event: "pointer-settled", release, serial, commit });
  }
  await closeConfirmed(paths.transaction);
}

/** What is found of a change that was cut off, a pointer that did not move, or a fall to the lifeline. */
export async function hasUnfinished({ paths }: ApplyContext): Promise<boolean> {
  const states = ["armed", "reverting", "confirmed"] as const;
  const records = await Promise.all(states.map((state) => readTransaction(paths.transaction, state)));
  return records.some((record) => record !== null) || (await readLifeline(paths.lifeline)) !== null;
}

/**
 * Puts the confirmed release in force unless it is; when that cannot be done, closes everything but the lifeline. Runs
 * under the apply lock. With a reason in `because` it is put in force though it may read back as if it were: a change that
 * was cut off may have left files that nobody has loaded yet. Returns null, or why only the lifeline is open.
 * @throws AgentError STATE_CORRUPT
 */
export async function enforceConfirmed(context: ApplyContext, because: string | null): Promise<AgentError | null> {
  const { paths, log } = context;
  try {
    await requireNoLockdown(paths);
    await requireNoFight(paths);
    const release = await openConfirmed(context);
    await ensureGate(context);
    const reason = because ?? (await whyNotInForce(context, release));
    if (reason === null) {
      // Whoever died in the middle of a swap may have left it waiting; under the lock nobody else swaps.
      await context.gate.resume();
      if (await removeLifeline(paths.lifeline)) log.info({ event: "lifeline-left" });
    } else {
      log.info({ event: "restoring", release: release.digest, because: reason });
      await restoreRelease(context, release);
    }
    log.info({ event: "enforcing", release: release.digest, restored: reason !== null });
    return null;
  } catch (error) {
    const failure = toAgentError(error, "APPLY_REVERT_FAILED", "the confirmed release could not be put in force");
    if (failure.code === "STATE_CORRUPT") throw failure;
    await fallToLifeline(context, failure, failure.code === "HELD_LOCKDOWN" ? "lockdown" : "closed");
    return failure;
  }
}

async function whyNotInForce(context: ApplyContext, release: CheckedRelease): Promise<string | null> {
  if ((await readTransaction(context.paths.transaction, "reverting")) !== null) return "a change was cut off";
  try {
    await readBack(context, release);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
