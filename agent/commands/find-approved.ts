import { openCommitTree, runGit } from "../host/git-command.ts";
import type { Tree } from "../source/read-manifest.ts";
import { APPROVALS_FOLDER, approvalPath, countPolicyApprovals } from "../trust/approvals.ts";
import { digestOf, LOCK_PATH, MAX_LOCK_BYTES } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import type { Root } from "../trust/root.ts";
import { MAX_SIGNATURE_BYTES } from "../trust/sshsig.ts";
import { judgeNow } from "./judge-locks.ts";
import type { LockPlan } from "./plan-lock.ts";

/** What somebody approved before and that has not been merged. */
export interface ApprovedBefore {
  readonly commit: string;
  readonly serial: number;
  readonly tree: Tree;
}

/** Commits with approvals that are looked at, the newest first. */
const MAX_COMMITS = 50;

/**
 * Returns the newest state that a principal approved with a lock that is neither the one to approve nor in the branch
 * that gateways follow, from all that the clone still has, what a rebase left behind included; null when there is none.
 */
export async function findApproved(
  folder: string,
  root: Root,
  principal: string,
  plan: LockPlan,
): Promise<ApprovedBefore | null> {
  const exclude = plan.base === null ? [] : ["--not", plan.base.ref];
  const list = async (...from: readonly string[]): Promise<readonly string[]> => {
    const args = ["rev-list", `--max-count=${MAX_COMMITS}`, ...from, ...exclude, "--", APPROVALS_FOLDER];
    const listed = await runGit(folder, args);
    return listed.exitCode === 0 ? listed.stdout.split("\n").filter((line) => line !== "") : [];
  };
  // This branch before others of the same age, as it is and as it was before a rebase.
  const commits = new Set([...(await list("HEAD", "ORIG_HEAD")), ...(await list("--all", "--reflog"))]);
  for (const commit of commits) {
    const tree = openCommitTree(folder, commit);
    const bytes = await tree.readFile(LOCK_PATH, MAX_LOCK_BYTES).catch(() => null);
    if (bytes === null || bytes.equals(plan.bytes)) continue;
    const parsed = parseLock(bytes);
    const path = approvalPath(digestOf(bytes), principal);
    // One that was there before may be of the branch, which everybody approved.
    if (!parsed.ok || !(await addsFile(folder, commit, path))) continue;
    const signature = await tree.readFile(path, MAX_SIGNATURE_BYTES).catch(() => null);
    if (signature === null) continue;
    const { counted } = countPolicyApprovals(root, bytes, new Map([[principal, signature]]), judgeNow);
    if (counted.length > 0) return { commit, serial: parsed.lock.serial, tree };
  }
  return null;
}

async function addsFile(folder: string, commit: string, path: string): Promise<boolean> {
  const args = ["diff-tree", "--no-commit-id", "--name-only", "--diff-filter=A", "-r", commit, "--", path];
  const result = await runGit(folder, args);
  return result.exitCode === 0 && result.stdout.trim() === path;
}
