import type { Agent } from "../agent.ts";
import { applyRelease, rehearse } from "../apply/apply-release.ts";
import { rememberBadRelease } from "../apply/bad-releases.ts";
import { checkWhileStoring } from "../apply/check-artifacts.ts";
import type { ApplyContext } from "../apply/context.ts";
import { openEnforced } from "../apply/enforced.ts";
import { gateReleaseOf, rememberGateRelease } from "../apply/gate-releases.ts";
import { addToHistory } from "../apply/history.ts";
import { checkProxyUser } from "../apply/proxy-service.ts";
import { isWhole, pruneReleases, storeRelease } from "../apply/release-store.ts";
import { type RevertTimer, startRevertTimer } from "../apply/revert-timer-client.ts";
import { hasUnfinished } from "../apply/start-enforcing.ts";
import { removeTimerNote } from "../apply/timer-note.ts";
import type { Provenance } from "../compile/release.ts";
import { type Cycle, type CycleOutcome, need, type StepResult } from "../cycle.ts";
import { AgentError, type Code } from "../errors.ts";
import type { ProbeResult } from "../health/probe.ts";
import { startProbes } from "../health/run-probes.ts";
import { nowMs } from "../host/clock.ts";
import { readPointers, writeConfirmed } from "../host/pointer-store.ts";
import { comparePolicies, countChanges } from "../policy/compare-policies.ts";

/** Ends the cycle for a commit that compiles to what is in force already; the pointer moves if it is another commit. */
export async function confirmUnchanged(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { digest } = need(cycle.release, "release");
  const { confirmed } = await readPointers(agent.paths.pointers);
  if (confirmed.release !== digest || !(await isInForce(agent.apply, digest))) return {};
  const isSame = confirmed.commit === cycle.commit && confirmed.whole === (cycle.whole ?? null);
  if (!isSame) await moveConfirmed(agent, cycle);
  return { done: await describeConfirmed(agent, cycle, false) };
}

/**
 * The pointer alone does not say so: the release may be damaged on disk, and so not be in force after a start, or its
 * revert may not have ended yet. A gate that does not answer is started again with it, which is nobody's to wait for here.
 */
async function isInForce(apply: ApplyContext, digest: string): Promise<boolean> {
  if ((await hasUnfinished(apply)) || !(await isWhole(apply.paths.releases, digest, apply.digests))) return false;
  const status = await apply.gate.status().catch(() => null);
  return status === null || status.digest === digest;
}

/**
 * Starts the programs that an apply needs, the revert timer and what probes as a client, while the commit is fetched, for
 * Node's start takes 50 ms: nothing of the commit reaches them before it is approved. Where no timer starts, staging will
 * say so.
 */
export async function startPrograms({ apply, log }: Agent): Promise<StepResult> {
  const probes = startProbes(apply.settings, apply);
  try {
    return { timer: await startRevertTimer(apply), probes };
  } catch (error) {
    probes.dismiss();
    log.debug({ event: "timer-not-started", reason: (error as Error).message });
    return {};
  }
}

/** Steps 1 and 2, stage and rehearse: writes the artifacts, lets named and the kernel judge them, and probes meanwhile. */
export async function stageRelease(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { apply, paths } = agent;
  const release = need(cycle.release, "release");
  checkProxyUser(apply, need(cycle.policy, "policy"));
  const timer = cycle.timer ?? (await startRevertTimer(apply));
  try {
    // Probes wait for the network; writing and judging need the machine.
    const [next, previous, before] = await Promise.all([
      apply.step("1-stage", async () => {
        const { confirmed } = await readPointers(paths.pointers);
        const provenance = provenanceOf(agent, cycle);
        const { digests } = apply;
        rememberGateRelease(apply, release.digest, release.gate);
        const storing = storeRelease(paths.releases, release, provenance, confirmed.release, digests);
        return await checkWhileStoring(release, storing, apply.verdicts);
      }),
      openEnforced(apply),
      apply.step("2-rehearse", () => rehearse(apply, () => probeForge(agent, cycle), cycle.probes)),
    ]);
    agent.log.info({ event: "release-staged", commit: cycle.commit, release: next.digest });
    return { next, previous, before, timer };
  } catch (error) {
    timer.dismiss();
    throw error;
  }
}

/** Steps 3 to 7. A release that is reverted is remembered, so that no restart and no rebase tries it again. */
export async function applyStaged(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const timer = need(cycle.timer, "revert timer");
  try {
    return await applyWith(agent, cycle, timer);
  } finally {
    timer.dismiss();
  }
}

async function applyWith(agent: Agent, cycle: Cycle, timer: RevertTimer): Promise<StepResult> {
  const { apply, paths, log } = agent;
  const commit = need(cycle.commit, "head");
  const next = need(cycle.next, "staged release");
  const previous = need(cycle.previous, "enforced release");
  const { serial } = need(cycle.approval, "approval");
  let report: Promise<CycleOutcome> | null = null;
  const before = need(cycle.before, "rehearsal");
  const outcome = await apply.inTurn(() =>
    applyRelease(apply, {
      ...{ next, previous, commit, serial, before, timer },
      extraProbes: async () => {
        const probes = probeForge(agent, cycle);
        // What changed is found out while the network is waited for: the rules are in force by then.
        report ??= describeConfirmed(agent, cycle, true);
        report.catch(() => {
          // Whoever awaits it is told.
        });
        return await probes;
      },
      onConfirm: () => moveConfirmed(agent, cycle),
    }),
  );
  if (outcome.kind === "confirmed") {
    for (const { name, detail } of outcome.failedBefore) log.warn({ event: "probe-failed-before", name, detail });
    await pruneReleases(paths.releases, [next.digest, previous.digest, ...(cycle.whole ? [cycle.whole] : [])]);
    return { done: await (report ?? describeConfirmed(agent, cycle, true)) };
  }
  const { kind, error } = outcome;
  // What the timer noted for an agent that is away is this cycle's outcome.
  await removeTimerNote(paths.timerNote);
  // Putting the confirmed release in force again is tried until it is: there is nothing to go back to.
  if (error.code === "HELD_LOCKDOWN") return { done: { kind: "waiting", commit, error } };
  if (next.digest === previous.digest) return { done: { kind: "failed", commit, error } };
  // A disk without room says nothing about the release, and is tried again.
  if (kind === "reverted" && error.code === "HOST_FILE") return { done: { kind: "failed", commit, error } };
  const at = new Date(nowMs()).toISOString();
  await rememberBadRelease(paths.badReleases, { digest: next.digest, commit, serial, reason: error.message, at });
  return { done: { kind: kind === "reverted" ? "rolled-back" : kind, commit, error } };
}

/** What a server that was reached says: its own trouble proves nothing against the rules. */
const REACHED: ReadonlySet<Code> = new Set([
  "SOURCE_HTTP",
  "SOURCE_AUTH",
  "SOURCE_PROTOCOL",
  "SOURCE_REDIRECT",
  "SOURCE_NO_BRANCH",
]);
const FORGE_ATTEMPTS = 2;

/** The branch that the agent sits on must still be within reach through the new rules. */
async function probeForge(agent: Agent, cycle: Cycle): Promise<readonly ProbeResult[]> {
  const name = "built-in: the Git server is within reach";
  let detail = "";
  for (let attempt = 0; attempt < FORGE_ATTEMPTS; attempt++) {
    try {
      const head = await agent.source.poll(cycle.signal);
      return [{ name, mandatory: false, passed: true, detail: `the head is ${head}` }];
    } catch (error) {
      detail = (error as Error).message;
      if (error instanceof AgentError && REACHED.has(error.code))
        return [{ name, mandatory: false, passed: true, detail }];
    }
  }
  return [{ name, mandatory: false, passed: false, detail }];
}

async function moveConfirmed(agent: Agent, cycle: Cycle): Promise<void> {
  const pointer = {
    release: need(cycle.release, "release").digest,
    serial: need(cycle.approval, "approval").serial,
    commit: cycle.commit,
    at: new Date(nowMs()).toISOString(),
    whole: cycle.whole ?? null,
  };
  await writeConfirmed(agent.paths.pointers, pointer);
  await addToHistory(agent.paths.history, pointer);
}

async function describeConfirmed(agent: Agent, cycle: Cycle, changed: boolean): Promise<CycleOutcome> {
  const commit = need(cycle.commit, "head");
  const { serial, approvedBy } = need(cycle.approval, "approval");
  const before = await gateReleaseOf(agent.apply, cycle.previous ?? (await openEnforced(agent.apply)));
  const policy = need(cycle.policy, "policy");
  const changes = countChanges(comparePolicies(before.policy, policy));
  const audit = policy.mode !== "deny-all" && policy.groups.some(({ mode }) => mode === "audit");
  const { insecure } = agent.settings.trust;
  return {
    ...{ kind: "confirmed", commit, serial, approvedBy, changed },
    report: { kind: "confirmed", serial, approvedBy, insecure, audit, changes },
  };
}

/** Returns where the release of a cycle comes from. */
export function provenanceOf(agent: Agent, cycle: Cycle): Provenance {
  const { serial, approvedBy, lockDigests: locks } = need(cycle.approval, "approval");
  const repository = agent.settings.repository.name;
  return { commit: need(cycle.commit, "head"), serial, repository, approvedBy, locks };
}
