import type { Agent } from "../agent.ts";
import { readHistory } from "../apply/history.ts";
import { type Approval, type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";
import { rememberCommit } from "../host/trust-store.ts";
import { readPolicyFiles } from "../source/read-policy-files.ts";
import { judgeCommit } from "./judge-commit.ts";

/** Signed commits that are kept for a rollback. */
const KEPT_COMMITS = 100;

/** Judges the signature of the head commit, where trust.mode asks for one; with mode `commit` that is the approval. */
export async function approveCommit(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings } = agent;
  const { mode, insecure } = settings.trust;
  if (mode === "manifest") return {};
  const reader = need(cycle.reader, "commit");
  const { root } = need(cycle.root, "root of trust");
  const revoked = need(cycle.revoked, "revoked keys");
  const seenAtMs = need(cycle.seenAtMs, "time of the first sight");
  const result = await judgeCommit({ root, revoked, seenAtMs, commit: reader.object });
  if (!result.ok && !insecure) {
    throw new AgentError(result.code, result.message, { remedy: result.remedy });
  }
  const signers = result.ok ? [result.principal] : [];
  agent.log.info({ event: "commit-signature", commit: reader.commit, signers });
  const { confirmed, verified } = await readPointers(agent.paths.pointers);
  if (result.ok) {
    // Those that a rollback may go back to are judged again, too.
    const history = await readHistory(agent.paths.history);
    const others = new Set([confirmed, ...history.slice(-KEPT_COMMITS)].map(({ commit }) => commit ?? ""));
    await rememberCommit(agent.paths.trust, reader.commit, { raw: reader.raw, seenAtMs }, others);
  }
  if (mode === "both") return {};

  const { policyPath } = settings.repository;
  const files = await readPolicyFiles(reader, [policyPath]);
  if (!files.has(policyPath)) {
    throw new AgentError("SOURCE_FILE", `the commit has no ${policyPath}`, {
      remedy: "commit it, or correct repository.policyPath in agent.json",
    });
  }
  // A signed commit has no serial: what a lock was verified with before stays, for the day when the mode changes back.
  const { serial, lockDigest } = verified;
  const approval: Approval = { serial, lockDigest, lockDigests: [], approvedBy: signers, files, locks: [] };
  return { approval };
}
