import type { Agent } from "../agent.ts";
import { AgentError, type Code, toAgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";
import { readEvidence, readKeptCommit } from "../host/trust-store.ts";
import { nameOf } from "../source/pack-index.ts";
import { countPolicyApprovals } from "../trust/approvals.ts";
import { parseCommitObject } from "../trust/commit-object.ts";
import { renewRequirement } from "../trust/requirements.ts";
import type { Root } from "../trust/root.ts";
import { missingOf } from "../trust/verify-approval.ts";
import { judgeCommit } from "./judge-commit.ts";
import { listEnforcedLocks } from "./remember-approval.ts";

export interface TrustAlarm {
  readonly code: Extract<
    Code,
    "TRUST_REVOKED" | "TRUST_STALE" | "HOST_FILE" | "SETTINGS_INVALID" | "TRUST_ROOT_INVALID"
  >;
  readonly message: string;
  readonly remedy: string;
}

/**
 * Judges what is enforced again, by the root in force and all that is revoked now: the approvals of its locks, and the
 * signature of its commit where that counts. Returns what stands against it, or null.
 */
export async function findRevoked(agent: Agent, root: Root): Promise<TrustAlarm | null> {
  const { mode, insecure } = agent.settings.trust;
  if (insecure) return null;
  const revoked = await agent.readRevoked().catch((error: unknown) => toAgentError(error, "HOST_FILE", "revokedFile"));
  if (revoked instanceof AgentError) {
    const { message, remedy } = revoked;
    const code = revoked.code === "SETTINGS_INVALID" ? revoked.code : "HOST_FILE";
    return { code, message, remedy: remedy ?? "correct trust.revokedFile; until then no commit is taken" };
  }
  const locks = await listEnforcedLocks(agent);
  const lost = await findLostApproval(agent, root, revoked, locks);
  // Without a lock it was the commit that was approved, though the mode be another one now.
  return lost ?? (mode === "manifest" && locks.length > 0 ? null : await findLostSignature(agent, root, revoked));
}

async function findLostApproval(
  agent: Agent,
  root: Root,
  revoked: ReadonlySet<string>,
  locks: readonly string[],
): Promise<TrustAlarm | null> {
  for (const lockDigest of locks) {
    const evidence = await readEvidence(agent.paths.trust, lockDigest);
    if (evidence === null) continue;
    const signatures = new Map([...evidence.signatures].map(([name, { bytes }]) => [name, bytes]));
    const seenAtMs = (name: string): number => evidence.signatures.get(name)?.seenAtMs ?? 0;
    const { counted, rejected } = countPolicyApprovals(root, evidence.lockBytes, signatures, { revoked, seenAtMs });
    const unmet = evidence.needs
      .map((asked) => renewRequirement(root, asked))
      .find((asked) => missingOf(asked, counted) > 0);
    if (unmet === undefined) continue;
    const why = rejected.map((one) => `; ${one.file} does not count: ${one.why}`).join("");
    return {
      code: "TRUST_REVOKED",
      message: `what is enforced is approved by ${counted.join(", ") || "nobody"} now; ${missingOf(unmet, counted)} of ${unmet.threshold} approvals are missing${why}`,
      remedy: `read what is enforced again; then let ${unmet.principals.join(", ")} approve it, or something else, with \`clawgress sign\``,
    };
  }
  return null;
}

async function findLostSignature(agent: Agent, root: Root, revoked: ReadonlySet<string>): Promise<TrustAlarm | null> {
  const { commit } = (await readPointers(agent.paths.pointers)).confirmed;
  const kept = commit === null ? null : await readKeptCommit(agent.paths.trust, commit);
  if (kept === null || nameOf("commit", kept.raw) !== commit) return null;
  const parsed = parseCommitObject(kept.raw);
  if (!parsed.ok) return null;
  const result = await judgeCommit({ root, revoked, seenAtMs: kept.seenAtMs, commit: parsed.value });
  if (result.ok) return null;
  return {
    code: "TRUST_REVOKED",
    message: `what is enforced, the commit ${commit.slice(0, 12)}, is signed by nobody who counts now: ${result.message}`,
    remedy: `read what is enforced again; then let ${root.roles.policy.principals.join(", ")} commit it, or something else, with \`git commit -S\``,
  };
}
