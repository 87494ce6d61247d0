import { loadOpenPgp } from "../host/openpgp.ts";
import type { TrustRefusal } from "../trust/verify-approval.ts";
import { type CommitInput, type SignedCommit, verifyCommit } from "../trust/verify-commit.ts";

/**
 * Returns who signed a commit, or why nobody did. The OpenPGP library is loaded only for a root that has such keys.
 * @throws AgentError HOST_MISSING when it has, and the library is not installed
 */
export async function judgeCommit(input: Omit<CommitInput, "checkOpenPgp">): Promise<SignedCommit | TrustRefusal> {
  const usesOpenPgp = input.root.principals.some(({ openpgp }) => openpgp.length > 0);
  return await verifyCommit({ ...input, checkOpenPgp: usesOpenPgp ? await loadOpenPgp() : null });
}
