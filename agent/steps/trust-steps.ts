import type { Agent } from "../agent.ts";
import { type Approval, type ApprovedLock, type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { readPointers, writeVerified } from "../host/pointer-store.ts";
import { readEvidence } from "../host/trust-store.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { readFresh } from "../source/read-fresh.ts";
import { type LockFiles, readLocks } from "../source/read-locks.ts";
import { digestFiles, readPaths } from "../source/read-manifest.ts";
import { type Evidence, seenAtOf } from "../trust/evidence.ts";
import { formatTime } from "../trust/fields.ts";
import { judgeFresh, noteProof } from "../trust/freshness.ts";
import { digestOf } from "../trust/lock.ts";
import { floorOf, type VerifiedPointer } from "../trust/pointers.ts";
import { requireForLocks } from "../trust/require-for-locks.ts";
import { dependsOnMeaning, fullRequirement, type Requirement, renewRequirement } from "../trust/requirements.ts";
import type { RootInForce } from "../trust/root-chain.ts";
import { judgeLock, type OpenedLock, openLock, type TrustRefusal } from "../trust/verify-approval.ts";
import { readVerifiedLocks } from "./read-verified.ts";
import { rememberApproval } from "./remember-approval.ts";

interface Opened {
  readonly opened: OpenedLock;
  readonly evidence: Evidence | null;
  readonly signatures: ReadonlyMap<string, Buffer>;
  readonly seenAtMs: (principal: string) => number;
}

/** Reads the locks, their approvals and every file they list, and judges them by the root in force and what was verified before. */
export async function approveContent(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings } = agent;
  if (settings.trust.mode === "commit") return {};
  const reader = need(cycle.reader, "commit");
  const { root } = need(cycle.root, "root of trust");
  const { verified } = await readPointers(agent.paths.pointers);
  const locks: Opened[] = [];
  for (const files of await readLocks(reader, root)) locks.push(await open(agent, cycle, files));
  // Before any file is read: nobody can make a gateway read large files by a lock that nobody approved.
  const { insecure } = settings.trust;
  for (const { opened } of locks) {
    const early = judgeEarly(opened, { root: need(cycle.root, "root of trust"), verified, insecure });
    if (early !== null) throw toError(early);
  }
  const paths = locks.flatMap(({ opened }) => Object.keys(opened.lock.files));
  const present = await readPaths(reader, [settings.repository.policyPath, ...paths]);
  const unlisted = !paths.includes(settings.repository.policyPath);
  const required = requireForLocks({
    ...{ root, policyPath: settings.repository.policyPath, present },
    last: await readVerifiedLocks(agent, root, verified),
    locks: locks.map(({ opened }) => opened),
  });

  const approved: ApprovedLock[] = [];
  for (const [index, { opened, evidence, signatures, seenAtMs }] of locks.entries()) {
    const requirements = requirementsFor(cycle, verified, opened, evidence, required[index] ?? []);
    const listed = Object.keys(opened.lock.files).map((path) => [path, present.get(path) ?? null] as const);
    const extra = unlisted && index === 0 ? [settings.repository.policyPath] : [];
    const files = new Map([...listed, ...extra.map((path) => [path, present.get(path) ?? null] as const)]);
    const result = judgeLock(opened, { root, requirements, verified, files: digestFiles(files), insecure });
    if (!result.ok) throw toError(result);
    const counted = opened.count.counted.flatMap((name) => {
      const bytes = signatures.get(name);
      return bytes === undefined ? [] : [[name, { bytes, seenAtMs: seenAtMs(name) }] as const];
    });
    const needs = requirements.map(({ rule, tightens }) => ({ rule, tightens }));
    const { part, bytes: lockBytes, lockDigest } = opened;
    const kept: Evidence = { part: part?.name ?? null, lockBytes, lockDigest, needs, signatures: new Map(counted) };
    approved.push({ lock: result.lock, evidence: kept, approvedBy: result.approvedBy });
  }
  const files = [...present].flatMap(([path, bytes]) => (bytes === null ? [] : [[path, bytes] as const]));
  const approval = joinApprovals(approved, new Map(files));
  const { serial, approvedBy } = approval;
  agent.log.info({ event: "commit-approved", commit: reader.commit, serial, approvedBy });
  return { approval };
}

async function open(agent: Agent, cycle: Cycle, { part, lockBytes, signatures }: LockFiles): Promise<Opened> {
  const { name: repository, branch, group } = agent.settings.repository;
  const { root } = need(cycle.root, "root of trust");
  const evidence = lockBytes === null ? null : await readEvidence(agent.paths.trust, digestOf(lockBytes));
  const seenAtMs = seenAtOf(evidence, signatures, need(cycle.seenAtMs, "time of the first sight"));
  const revoked = need(cycle.revoked, "revoked keys");
  const expected = { repository, branch, group };
  const opened = openLock({ root, part, lockBytes, expected, signatures, revoked, seenAtMs });
  if (!opened.ok) throw toError(opened);
  return { opened, evidence, signatures, seenAtMs };
}

/**
 * Where fewer may be enough for what a change means, one approval is enough to look what it means. Whatever else is wrong
 * with a lock that nobody approved is nobody's word against anybody.
 */
function judgeEarly(
  opened: OpenedLock,
  { root: { root }, verified, insecure }: { root: RootInForce; verified: VerifiedPointer; insecure: boolean },
): TrustRefusal | null {
  if (insecure || (dependsOnMeaning(root) && opened.count.counted.length > 0)) return null;
  const requirements = [fullRequirement(root)];
  const result = judgeLock(opened, { root, requirements, verified, files: new Map(), insecure });
  return result.ok || result.code === "TRUST_LOCK_MISMATCH" ? null : result;
}

/** What was verified before is asked for what it was asked for then, or less would do for it now than did at first. */
function requirementsFor(
  cycle: Cycle,
  verified: VerifiedPointer,
  { part, lockDigest }: OpenedLock,
  evidence: Evidence | null,
  required: readonly Requirement[],
): readonly Requirement[] {
  const { root } = need(cycle.root, "root of trust");
  const floor = floorOf(verified, part?.name ?? null, root.serials);
  if (floor.lockDigest !== lockDigest) return required;
  const renewed = (evidence?.needs ?? []).map((asked) => renewRequirement(root, asked));
  return renewed.length > 0 ? renewed : [fullRequirement(root)];
}

function joinApprovals(locks: readonly ApprovedLock[], files: ReadonlyMap<string, Buffer>): Approval {
  const [common] = locks;
  const { lock, evidence } = need(common, "common lock");
  const approvedBy = [...new Set(locks.flatMap((one) => one.approvedBy))].sort(compareTexts);
  const lockDigests = locks.map((one) => one.evidence.lockDigest);
  return { serial: lock.serial, lockDigest: evidence.lockDigest, lockDigests, approvedBy, files, locks };
}

/**
 * Moves the verified pointer, durably, whatever becomes of the policy: an older serial is refused from here on, though
 * this one may fail its probes. Before it moves, what is needed to judge it again is kept.
 */
export async function rememberVerified(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const approval = need(cycle.approval, "approval");
  const root = need(cycle.root, "root of trust");
  const seenAtMs = need(cycle.seenAtMs, "time of the first sight");
  const { verified } = await readPointers(agent.paths.pointers);
  const isSame = verified.serial === approval.serial && verified.lockDigest === approval.lockDigest;
  const parts = approval.locks.flatMap(({ lock, evidence }) =>
    evidence.part === null ? [] : [[evidence.part, { serial: lock.serial, lockDigest: evidence.lockDigest }] as const],
  );
  const moved: VerifiedPointer = {
    ...verified,
    root: root.root.root,
    rootDigest: root.digest,
    ...(isSame ? {} : { serial: approval.serial, lockDigest: approval.lockDigest }),
    ...(isSame && verified.commit === cycle.commit ? {} : { at: formatTime(nowMs()) }),
    // It moves with every commit, though the lock is the same: history goes on from the newest one that held.
    commit: cycle.commit,
    parts: { ...verified.parts, ...Object.fromEntries(parts) },
  };
  const next = noteProof(moved, verified, await readVouched(agent, cycle), seenAtMs);
  await rememberApproval(agent, root, approval);
  if (JSON.stringify(next) !== JSON.stringify(verified)) {
    await writeVerified(agent.paths.pointers, next, root.root.serials);
  }
  return {};
}

/** Returns until when the role `freshness` vouches for the commit; null when it does not, with a word in the log if it tried. */
async function readVouched(agent: Agent, cycle: Cycle): Promise<number | null> {
  const { root } = need(cycle.root, "root of trust");
  const statement = await readFresh(need(cycle.reader, "commit"), root);
  if (statement === null) return null;
  const { name: repository, branch, group } = agent.settings.repository;
  const seenAtMs = need(cycle.seenAtMs, "time of the first sight");
  const { serial } = need(cycle.approval, "approval");
  const revoked = need(cycle.revoked, "revoked keys");
  const expected = { repository, branch, group };
  const verdict = judgeFresh({ root, ...statement, expected, serial, revoked, seenAtMs: () => seenAtMs });
  if (verdict.ok) return verdict.validUntilMs;
  const event = verdict.withheld ? "newer-serial-withheld" : "freshness-ignored";
  agent.log.warn({ event, commit: cycle.commit, reason: verdict.why });
  return null;
}

function toError({ code, message, remedy, counted, missing }: TrustRefusal): AgentError {
  return new AgentError(code, message, { remedy, details: { counted: [...counted], missing } });
}
