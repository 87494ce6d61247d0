import type { CommitId } from "./source.ts";

/** Returns the parents of a commit, or undefined where it is not known. */
export type ParentsOf = (commit: CommitId) => readonly CommitId[] | undefined;

/**
 * Returns whether one commit is behind another, or the same, as far as parents are known. Each commit is looked at once, so
 * that merges upon merges cost no more than their number.
 */
export function reaches(from: CommitId, to: CommitId, parentsOf: ParentsOf): boolean {
  const seen = new Set([from]);
  // A set goes on over what is added while it is walked through.
  for (const commit of seen) {
    if (commit === to) return true;
    for (const parent of parentsOf(commit) ?? []) seen.add(parent);
  }
  return false;
}
