import type { Agent } from "../agent.ts";
import { type Approval, type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { readPointers, writeVerified } from "../host/pointer-store.ts";
import { digestFiles, readApprovals, readListedFiles } from "../source/read-manifest.ts";
import { LOCK_PATH, MAX_LOCK_BYTES } from "../trust/lock.ts";
import { MAX_ROOT_FILES, ROOT_FOLDER } from "../trust/root.ts";
import { refuseNewerRoot } from "../trust/root-chain.ts";
import { type TrustRefusal, verifyManifest } from "../trust/verify-approval.ts";

/** Reads the lock, its approvals and every file it lists, and judges them by the root of trust and what was verified before. */
export async function approveContent(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings, root } = agent;
  if (settings.trust.mode === "commit") return {};
  const reader = need(cycle.reader, "commit");
  const newer = refuseNewerRoot(root, await reader.listFiles(ROOT_FOLDER, MAX_ROOT_FILES));
  if (newer !== null) throw toError(newer);

  const lockBytes = await reader.readFile(LOCK_PATH, MAX_LOCK_BYTES);
  const { name: repository, branch, group } = settings.repository;
  const judge = {
    root,
    lockBytes,
    expected: { repository, branch, group },
    verified: (await readPointers(agent.paths.pointers)).verified,
    signatures: await readApprovals(reader, root, lockBytes),
    insecure: settings.trust.insecure,
  };
  // Judged without files first: nobody can make a gateway read large files by a lock that nobody approved.
  const early = verifyManifest({ ...judge, files: new Map() });
  if (!early.ok && early.code !== "TRUST_LOCK_MISMATCH") throw toError(early);
  const files = await readListedFiles(reader, lockBytes, [settings.repository.policyPath]);
  const result = verifyManifest({ ...judge, files: digestFiles(files) });
  if (!result.ok) throw toError(result);
  const present = [...files].flatMap(([path, bytes]) => (bytes === null ? [] : [[path, bytes] as const]));
  const { lock, lockDigest, approvedBy } = result;
  const approval: Approval = { serial: lock.serial, lockDigest, approvedBy, files: new Map(present) };
  agent.log.info({ event: "commit-approved", commit: reader.commit, serial: lock.serial, approvedBy });
  return { approval };
}

/**
 * Moves the verified pointer, durably, whatever becomes of the policy: an older serial is refused from here on, though
 * this one may fail its probes.
 */
export async function rememberVerified(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { serial, lockDigest } = need(cycle.approval, "approval");
  const { verified } = await readPointers(agent.paths.pointers);
  const isSame = verified.serial === serial && verified.lockDigest === lockDigest && verified.root === agent.root.root;
  // The commit moves too, though its lock is the same: history goes on from the newest one that held.
  if (isSame && verified.commit === cycle.commit) return {};
  await writeVerified(agent.paths.pointers, {
    root: agent.root.root,
    serial,
    lockDigest,
    commit: cycle.commit,
    at: new Date(nowMs()).toISOString(),
  });
  return {};
}

function toError({ code, message, remedy, counted, missing }: TrustRefusal): AgentError {
  return new AgentError(code, message, { remedy, details: { counted: [...counted], missing } });
}
