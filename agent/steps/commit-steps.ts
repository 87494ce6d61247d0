import type { Agent } from "../agent.ts";
import { type Approval, type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { loadOpenPgp } from "../host/openpgp.ts";
import { readPointers } from "../host/pointer-store.ts";
import { readPolicyFiles } from "../source/read-policy-files.ts";
import { verifyCommit } from "../trust/verify-commit.ts";

/** Judges the signature of the head commit, where trust.mode asks for one; with mode `commit` that is the approval. */
export async function approveCommit(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings } = agent;
  const { mode, insecure } = settings.trust;
  if (mode === "manifest") return {};
  const reader = need(cycle.reader, "commit");
  const { root } = need(cycle.root, "root of trust");
  const revoked = need(cycle.revoked, "revoked keys");
  const seenAtMs = need(cycle.seenAtMs, "time of the first sight");
  const usesOpenPgp = root.principals.some(({ openpgp }) => openpgp.length > 0);
  const checkOpenPgp = usesOpenPgp ? await loadOpenPgp() : null;
  const result = await verifyCommit({ root, revoked, seenAtMs, commit: reader.object, checkOpenPgp });
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
  const approval: Approval = { serial, lockDigest, lockDigests: [], approvedBy: signers, files, locks: [] };
  return { approval };
}
