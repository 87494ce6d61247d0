import type { Agent } from "../agent.ts";
import { type Approval, type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";
import { readPolicyFiles } from "../source/read-policy-files.ts";
import { MAX_ROOT_FILES, ROOT_FOLDER } from "../trust/root.ts";
import { refuseNewerRoot } from "../trust/root-chain.ts";
import { verifyCommit } from "../trust/verify-commit.ts";

/** Judges the signature of the head commit, where trust.mode asks for one; with mode `commit` that is the approval. */
export async function approveCommit(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings, root, checkOpenPgp } = agent;
  const { mode, insecure } = settings.trust;
  if (mode === "manifest") return {};
  const reader = need(cycle.reader, "commit");
  const newer = refuseNewerRoot(root, await reader.listFiles(ROOT_FOLDER, MAX_ROOT_FILES));
  if (newer !== null) throw new AgentError(newer.code, newer.message, { remedy: newer.remedy });
  const result = await verifyCommit({ root, commit: reader.object, checkOpenPgp });
  if (!result.ok && !insecure) {
    throw new AgentError(result.code, result.message, { remedy: result.remedy });
  }
  const signers = result.ok ? [result.principal] : [];
  agent.log.info({ event: "commit-signature", commit: reader.commit, signers });
  if (mode === "both") return {};

  const { policyPath } = settings.repository;
  const files = await readPolicyFiles(reader, [policyPath]);
  if (!files.has(policyPath)) {
    throw new AgentError("SOURCE_FILE", `the commit has no ${policyPath}`, {
      remedy: "commit it, or correct repository.policyPath in agent.json",
    });
  }
  // A signed commit has no serial: what a lock was verified with before stays, for the day when the mode changes back.
  const { serial, lockDigest } = (await readPointers(agent.paths.pointers)).verified;
  const approval: Approval = { serial, lockDigest, approvedBy: signers, files };
  return { approval };
}
