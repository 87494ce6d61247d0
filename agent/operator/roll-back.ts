import type { Agent } from "../agent.ts";
import { applyRelease, rehearse } from "../apply/apply-release.ts";
import { rememberBadRelease } from "../apply/bad-releases.ts";
import { requireNoBreakGlass } from "../apply/break-glass-note.ts";
import { checkArtifacts } from "../apply/check-artifacts.ts";
import { openEnforced } from "../apply/enforced.ts";
import { requireNoFight } from "../apply/fight.ts";
import { addToHistory, type HistoryEntry, readHistory } from "../apply/history.ts";
import { requireNoLockdown } from "../apply/hold-notes.ts";
import { isWhole, openRelease } from "../apply/release-store.ts";
import { startRevertTimer } from "../apply/revert-timer-client.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { readPointers, writeConfirmed } from "../host/pointer-store.ts";

export interface RollbackOrder {
  /** Null: what was confirmed before the present release. */
  readonly serial: number | null;
  readonly by: string;
  readonly reason: string;
}

/**
 * Puts a release back in force that was confirmed before, as an apply like any other: probed, and undone when it does not
 * hold. The release that it leaves is remembered as bad, so that the branch brings it back only by another policy, or by
 * an operator's word. The verified pointer stays: nothing older can be pushed meanwhile. Returns what is in force now.
 * @throws AgentError USAGE for a serial that cannot be gone back to, HELD_LOCKDOWN, HELD_FIGHT, BREAK_GLASS, APPLY_*, HEALTH_FAILED
 */
export async function rollBack(agent: Agent, { serial, by, reason }: RollbackOrder): Promise<HistoryEntry> {
  const { apply, paths, log, memory, reporter } = agent;
  await requireNoLockdown(paths);
  await requireNoFight(paths);
  await requireNoBreakGlass(paths.breakGlass);
  const { confirmed } = await readPointers(paths.pointers);
  const target = await findTarget(agent, confirmed.release, serial);
  const timer = await startRevertTimer(apply);
  try {
    const next = await checkArtifacts(await openRelease(paths.releases, target.release, apply.digests), apply.verdicts);
    const [previous, before] = await Promise.all([openEnforced(apply), rehearse(apply, async () => [])]);
    const at = new Date(nowMs()).toISOString();
    const { release, serial: targetSerial, commit } = target;
    const pointer = { release, serial: targetSerial, commit, at, whole: null };
    const outcome = await applyRelease(apply, {
      ...{ next, previous, commit: target.commit, serial: target.serial, before, timer },
      extraProbes: async () => [],
      onConfirm: () => writeConfirmed(paths.pointers, pointer),
    });
    if (outcome.kind !== "confirmed") throw outcome.error;
    const why = `rolled back by ${by}: ${reason}`;
    if (confirmed.release !== null && confirmed.commit !== null) {
      const left = { digest: confirmed.release, commit: confirmed.commit, serial: confirmed.serial };
      await rememberBadRelease(paths.badReleases, { ...left, reason: why, at });
      await reporter?.post(confirmed.commit, { kind: "rolled-back", code: "APPLY_ROLLED_BACK", message: why });
    }
    await addToHistory(paths.history, pointer, { by, reason });
    await reporter?.post(target.commit, { kind: "restored", serial: target.serial });
    log.warn({ event: "rolled-back-by-operator", by, reason, from: confirmed, to: pointer });
    memory.settledCommit = null;
    return { release, serial: targetSerial, commit, at, rollback: { by, reason } };
  } finally {
    timer.dismiss();
  }
}

async function findTarget(
  { apply, paths }: Agent,
  present: string | null,
  serial: number | null,
): Promise<HistoryEntry & { readonly release: string }> {
  const kept: HistoryEntry[] = [];
  for (const entry of [...(await readHistory(paths.history))].reverse()) {
    if (entry.release !== present && (await isWhole(paths.releases, entry.release, apply.digests))) kept.push(entry);
  }
  const target = serial === null ? kept[0] : kept.find((entry) => entry.serial === serial);
  if (target !== undefined) return target;
  const serials = [...new Set(kept.map((entry) => entry.serial))];
  const what = serial === null ? "no earlier release is kept" : `serial ${serial} is no earlier release that is kept`;
  throw new AgentError("USAGE", what, {
    remedy: serials.length === 0 ? "merge a commit that reverts the policy" : `give one of: ${serials.join(", ")}`,
  });
}
