import { AgentError } from "../errors.ts";
import { lockPath, MAX_LOCK_BYTES } from "../trust/lock.ts";
import type { Root, Rule } from "../trust/root.ts";
import { readApprovals, type Tree } from "./read-manifest.ts";

/** A lock in a repository, as far as it is there, with what may be approvals of it. */
export interface LockFiles {
  /** The rule whose lock it is; null: the common one. */
  readonly part: Rule | null;
  readonly lockBytes: Buffer | null;
  readonly signatures: ReadonlyMap<string, Buffer>;
}

const MAX_ALL_LOCKS_BYTES = 4 * 1024 * 1024;

/**
 * Returns the common lock, and after it those of the rules that have one of their own and have written it, in the order
 * of the root. @throws AgentError SOURCE_FILE, SOURCE_TOO_LARGE past 4 MiB for all
 */
export async function readLocks(tree: Tree, root: Root): Promise<readonly LockFiles[]> {
  const locks: LockFiles[] = [];
  let totalBytes = 0;
  for (const part of [null, ...root.rules.filter(({ lock }) => lock)]) {
    const lockBytes = await tree.readFile(lockPath(part?.name ?? null), MAX_LOCK_BYTES);
    totalBytes += lockBytes?.length ?? 0;
    if (totalBytes > MAX_ALL_LOCKS_BYTES) {
      throw new AgentError("SOURCE_TOO_LARGE", `all locks have more than ${MAX_ALL_LOCKS_BYTES} bytes together`);
    }
    if (part !== null && lockBytes === null) continue;
    locks.push({ part, lockBytes, signatures: await readApprovals(tree, root, lockBytes) });
  }
  return locks;
}
