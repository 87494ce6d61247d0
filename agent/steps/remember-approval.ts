import type { Agent } from "../agent.ts";
import { readProvenance } from "../apply/release-store.ts";
import type { Approval } from "../cycle.ts";
import { readPointers } from "../host/pointer-store.ts";
import {
  keepFiles,
  listEvidence,
  pruneTrust,
  readEvidence,
  readRememberedRoot,
  rememberEvidence,
  rememberRoot,
} from "../host/trust-store.ts";
import { encodeEvidence } from "../trust/evidence.ts";
import { parseLock } from "../trust/parse-lock.ts";
import type { RootInForce } from "../trust/root-chain.ts";

/** Keeps the root, the approved locks and their files, and drops those of states that are neither verified nor enforced. */
export async function rememberApproval(agent: Agent, root: RootInForce, approval: Approval): Promise<void> {
  const { trust } = agent.paths;
  const remembered = await readRememberedRoot(trust);
  if (remembered === null || !remembered.equals(root.bytes)) await rememberRoot(trust, root.bytes);
  const changed = [];
  for (const { evidence } of approval.locks) {
    const kept = await readEvidence(trust, evidence.lockDigest);
    if (kept === null || !encodeEvidence(kept).equals(encodeEvidence(evidence))) changed.push(evidence);
  }
  if (changed.length === 0) return;
  await keepFiles(trust, approval.files.values());
  for (const evidence of changed) await rememberEvidence(trust, evidence);
  await prune(agent, approval);
}

async function prune(agent: Agent, approval: Approval): Promise<void> {
  const { trust } = agent.paths;
  const locks = new Set([
    ...approval.locks.map(({ evidence }) => evidence.lockDigest),
    ...(await listEnforcedLocks(agent)),
  ]);
  const files = new Set<string>();
  for (const digest of await listEvidence(trust)) {
    const kept = locks.has(digest) ? await readEvidence(trust, digest) : null;
    const parsed = kept === null ? null : parseLock(kept.lockBytes);
    if (parsed?.ok === true) for (const file of Object.values(parsed.lock.files)) files.add(file);
  }
  await pruneTrust(trust, { locks, files });
}

/** Returns the digests of the locks by which what is enforced was approved; none when that is not known. */
export async function listEnforcedLocks(agent: Agent): Promise<readonly string[]> {
  const { confirmed } = await readPointers(agent.paths.pointers);
  const release = confirmed.whole ?? confirmed.release;
  const provenance = release === null ? null : await readProvenance(agent.paths.releases, release);
  return provenance?.locks ?? [];
}
