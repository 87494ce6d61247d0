import type { Agent } from "../agent.ts";
import { nowMs } from "../host/clock.ts";
import { readPointers, writeVerified } from "../host/pointer-store.ts";
import { listEvidence, readEvidence } from "../host/trust-store.ts";
import { countPolicyApprovals } from "../trust/approvals.ts";
import type { Evidence } from "../trust/evidence.ts";
import { formatTime } from "../trust/fields.ts";
import type { Lock } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { floorOf, type VerifiedPointer } from "../trust/pointers.ts";
import { renewRequirement } from "../trust/requirements.ts";
import type { Root } from "../trust/root.ts";
import { missingOf } from "../trust/verify-approval.ts";
import { findRootInForce } from "./root-steps.ts";

/**
 * Moves the verified pointer up to the newest locks of which this disk still holds the approvals: after a power cut between
 * the two, and when older pointers were restored beside newer files. What was once verified is not verified backwards.
 */
export async function raiseVerified(agent: Agent): Promise<void> {
  const { verified } = await readPointers(agent.paths.pointers);
  const { root } = await findRootInForce(agent, verified);
  let raised: VerifiedPointer = verified;
  for (const digest of await listEvidence(agent.paths.trust)) {
    const evidence = await readEvidence(agent.paths.trust, digest);
    const parsed = evidence === null ? null : parseLock(evidence.lockBytes);
    if (evidence === null || parsed?.ok !== true || !isOurs(agent, root, parsed.lock)) continue;
    if (isApproved(root, evidence)) raised = raise(raised, root, parsed.lock, digest);
  }
  if (raised === verified) return;
  await writeVerified(agent.paths.pointers, raised);
  agent.log.warn({ event: "pointer-raised", from: verified.serial, to: raised.serial, parts: raised.parts });
}

function isOurs({ settings }: Agent, root: Root, lock: Lock): boolean {
  const { name, branch, group } = settings.repository;
  const isVoid = root.serials !== null && lock.serial >= root.serials.void;
  return !isVoid && lock.repository === name && lock.branch === branch && lock.group === group;
}

function isApproved(root: Root, { lockBytes, needs, signatures }: Evidence): boolean {
  const bytes = new Map([...signatures].map(([name, signature]) => [name, signature.bytes]));
  const seenAtMs = (name: string): number => signatures.get(name)?.seenAtMs ?? 0;
  const { counted } = countPolicyApprovals(root, lockBytes, bytes, { revoked: new Set(), seenAtMs });
  return needs.length > 0 && needs.every((asked) => missingOf(renewRequirement(root, asked), counted) === 0);
}

function raise(verified: VerifiedPointer, root: Root, { serial, part }: Lock, lockDigest: string): VerifiedPointer {
  if (serial <= floorOf(verified, part ?? null, root.serials).serial) return verified;
  if (part !== undefined) return { ...verified, parts: { ...verified.parts, [part]: { serial, lockDigest } } };
  return { ...verified, serial, lockDigest, commit: null, at: formatTime(nowMs()) };
}
