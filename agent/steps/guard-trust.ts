import type { Agent } from "../agent.ts";
import { readHold } from "../apply/hold-notes.ts";
import { openRelease, readGateRelease, readProvenance, storeRelease } from "../apply/release-store.ts";
import { compile } from "../compile/compile.ts";
import { type Approval, type Cycle, type CycleOutcome, need, type StepResult } from "../cycle.ts";
import { toAgentError } from "../errors.ts";
import type { ProbeResult } from "../health/probe.ts";
import { readPointers, writeVerified } from "../host/pointer-store.ts";
import { type Narrowing, narrowest, narrowPolicy } from "../policy/narrow-policy.ts";
import { clockBehindMs } from "../trust/clock.ts";
import { formatTime } from "../trust/fields.ts";
import { assessFreshness, type Freshness } from "../trust/freshness.ts";
import type { ConfirmedPointer, VerifiedPointer } from "../trust/pointers.ts";
import type { Root } from "../trust/root.ts";
import { applyStaged, confirmUnchanged, provenanceOf, stageRelease } from "./apply-steps.ts";
import { findRevoked, type TrustAlarm } from "./find-revoked.ts";
import { findRootInForce } from "./root-steps.ts";

/** What stands against trusting what is enforced, and how far it is narrowed for that. */
export interface TrustVerdict {
  readonly root: number;
  readonly freshness: Freshness;
  /** How far the wall clock is behind what this gateway knows to have passed. */
  readonly clockBehindMs: number;
  readonly alarms: readonly TrustAlarm[];
  readonly narrowing: Narrowing;
}

/**
 * Looks, after every poll and whatever came of it, whether what is enforced can still be trusted: whether those who
 * approved it still count, and whether it can still be the newest. Narrows it as agent.json says, and puts the whole
 * policy back when it can. Needs neither network nor Git; never throws.
 */
export async function guardTrust(agent: Agent, signal: AbortSignal): Promise<void> {
  const { log, memory } = agent;
  try {
    await agent.clock.save();
    await correctProof(agent);
    const { verified, confirmed } = await readPointers(agent.paths.pointers);
    const verdict = await judgeEnforced(agent, verified);
    tellAlarms(agent, confirmed, memory.trust, verdict);
    memory.trust = verdict;
    if (confirmed.release === null || (await readHold(agent.paths.lockdown)) !== null) return;
    await narrowEnforced(agent, confirmed, verdict.narrowing, signal);
  } catch (error) {
    const { code, message } = toAgentError(error, "APPLY_FAILED", "what is enforced could not be narrowed");
    log.error({ event: "trust-unguarded", code, reason: message });
  }
}

/** Narrows the policy of a commit that is approved but not fresh: another text on the branch proves nothing. */
export async function narrowIfDistrusted(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { verified } = await readPointers(agent.paths.pointers);
  const { root } = need(cycle.root, "root of trust");
  const freshness = assess(agent, verified, root);
  const { whenExpired, keepLabels } = agent.settings.trust;
  if (freshness.state !== "EXPIRED" || whenExpired === "keep") return {};
  const policy = need(cycle.policy, "policy");
  const whole = compile({ policy, settings: agent.settings });
  await storeRelease(agent.paths.releases, whole, provenanceOf(agent, cycle));
  return { policy: narrowPolicy(policy, whenExpired, keepLabels), whole: whole.digest };
}

async function judgeEnforced(agent: Agent, verified: VerifiedPointer): Promise<TrustVerdict> {
  const { whenExpired, whenRevoked } = agent.settings.trust;
  const { root } = await findRootInForce(agent, verified);
  const freshness = assess(agent, verified, root);
  const stale = describeStale(freshness, whenExpired);
  const revoked = await findRevoked(agent, root);
  return {
    root: root.root,
    freshness,
    clockBehindMs: clockBehindMs(agent.clock.read()),
    alarms: [stale, revoked].filter((alarm) => alarm !== null),
    narrowing: narrowest([
      freshness.state === "EXPIRED" ? whenExpired : "keep",
      revoked?.code === "TRUST_REVOKED" ? whenRevoked : "keep",
    ]),
  };
}

function assess(agent: Agent, verified: VerifiedPointer, root: Root): Freshness {
  const { maxAgeS, graceS } = agent.settings.trust;
  return assessFreshness({
    verified,
    hasRole: root.roles.freshness !== null,
    maxAgeMs: maxAgeS === null ? null : maxAgeS * 1000,
    graceMs: graceS * 1000,
    nowMs: agent.judgedMs(),
  });
}

/** A proof from the future was noted while the clock was ahead; it must not hide for years that updates are withheld. */
async function correctProof(agent: Agent): Promise<void> {
  const { verified } = await readPointers(agent.paths.pointers);
  const nowMs = agent.judgedMs();
  if (verified.freshAt === null || Date.parse(verified.freshAt) <= nowMs + 1000) return;
  await writeVerified(agent.paths.pointers, { ...verified, freshAt: formatTime(nowMs) });
  agent.log.warn({ event: "proof-corrected", from: verified.freshAt, to: formatTime(nowMs) });
}

function describeStale({ state, untilMs }: Freshness, whenExpired: Narrowing): TrustAlarm | null {
  if (untilMs === null || state === "FRESH" || state === "UNWATCHED") return null;
  const what = state === "STALE" ? "an alarm only, so far" : `whenExpired: ${whenExpired}`;
  return {
    code: "TRUST_STALE",
    message: `${state}: nothing has shown since ${formatTime(untilMs)} that no newer state is being withheld (${what})`,
    remedy:
      "see whether the Git server answers and has what the team merged last; a new serial, or a statement of the role freshness, ends this",
  };
}

function tellAlarms(
  agent: Agent,
  confirmed: ConfirmedPointer,
  last: TrustVerdict | null,
  { alarms }: TrustVerdict,
): void {
  for (const { code, message, remedy } of alarms) {
    if (last?.alarms.some((known) => known.code === code && known.message === message)) continue;
    agent.log.error({ event: "trust-alarm", code, reason: message, remedy });
    if (code !== "TRUST_REVOKED" || confirmed.commit === null) continue;
    agent.reporter?.post(confirmed.commit, { kind: "refused", code, message }).catch((error: Error) => {
      agent.log.warn({ event: "report-failed", reason: error.message });
    });
  }
  const over = last?.alarms.filter(({ code }) => !alarms.some((alarm) => alarm.code === code)) ?? [];
  for (const { code } of over) agent.log.warn({ event: "trust-alarm-over", code });
}

/** Makes what is enforced as narrow as it has to be, from the release of the whole policy on disk. */
async function narrowEnforced(
  agent: Agent,
  confirmed: ConfirmedPointer,
  narrowing: Narrowing,
  signal: AbortSignal,
): Promise<void> {
  if (narrowing === "keep" && confirmed.whole === null) return;
  const { paths, settings, log } = agent;
  const wholeDigest = confirmed.whole ?? need(confirmed.release, "confirmed release");
  const { policy: whole } = await readGateRelease(await openRelease(paths.releases, wholeDigest));
  const policy = narrowPolicy(whole, narrowing, settings.trust.keepLabels);
  const release = compile({ policy, settings });
  const isWhole = narrowing === "keep";
  if (release.digest === confirmed.release && (confirmed.whole === null) === isWhole) return;
  log.warn({ event: "narrowing", narrowing, from: confirmed.release, to: release.digest });
  const approval = await approvalOf(agent, confirmed, wholeDigest);
  const commit = confirmed.commit ?? "0".repeat(40);
  let cycle: Cycle = { signal, commit, approval, policy, release, ...(isWhole ? {} : { whole: wholeDigest }) };
  for (const step of [confirmUnchanged, stageRelease, ignoreProbes, applyStaged]) {
    const result: StepResult = await step(agent, cycle);
    if ("done" in result) return tellNarrowed(agent, narrowing, result.done);
    cycle = { ...cycle, ...result };
  }
}

function tellNarrowed({ log, memory }: Agent, narrowing: Narrowing, outcome: CycleOutcome): void {
  // The branch may have what belongs in force now: it is looked at again.
  memory.settledCommit = null;
  if (!("error" in outcome)) log.warn({ event: "narrowed", narrowing });
  else log.error({ event: "narrowing-failed", narrowing, code: outcome.error.code, reason: outcome.error.message });
}

/** What a narrower policy closes, it closes on purpose: the gateway's own checks count, those of its users' reach do not. */
async function ignoreProbes(_agent: Agent, cycle: Cycle): Promise<StepResult> {
  const ignore = (probe: ProbeResult): ProbeResult => (probe.mandatory ? probe : { ...probe, passed: false });
  return { before: need(cycle.before, "rehearsal").map(ignore) };
}

async function approvalOf(agent: Agent, confirmed: ConfirmedPointer, digest: string): Promise<Approval> {
  const provenance = await readProvenance(agent.paths.releases, digest);
  const { serial } = confirmed;
  const { approvedBy = [], locks: lockDigests = [] } = provenance ?? {};
  return { serial, lockDigest: lockDigests[0] ?? "", lockDigests, approvedBy, files: new Map(), locks: [] };
}
