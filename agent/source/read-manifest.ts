import { AgentError } from "../errors.ts";
import { approvalPaths } from "../trust/approvals.ts";
import { digestOf } from "../trust/lock.ts";
import type { Root } from "../trust/root.ts";
import { MAX_SIGNATURE_BYTES } from "../trust/sshsig.ts";
import type { CommitReader } from "./source.ts";

/** A place where files of a repository are read: a commit, or a working tree. */
export type Tree = Pick<CommitReader, "readFile" | "listFiles">;

/** 100,000 entries with all their fields. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_TOTAL_BYTES = 128 * 1024 * 1024;

/** Returns principal → signature of the approvals of a lock. Nothing but the files of principals of the root is looked at. */
export async function readApprovals(
  tree: Tree,
  root: Root,
  lockBytes: Buffer | null,
): Promise<ReadonlyMap<string, Buffer>> {
  const signatures = new Map<string, Buffer>();
  if (lockBytes === null) return signatures;
  for (const [principal, path] of approvalPaths(root, digestOf(lockBytes))) {
    const bytes = await tree.readFile(path, MAX_SIGNATURE_BYTES);
    if (bytes !== null) signatures.set(principal, bytes);
  }
  return signatures;
}

/**
 * Returns path → bytes of files; null for one that is missing.
 * @throws AgentError SOURCE_TOO_LARGE past 64 MiB for one, 128 MiB for all; SOURCE_FILE
 */
export async function readPaths(tree: Tree, paths: readonly string[]): Promise<ReadonlyMap<string, Buffer | null>> {
  const files = new Map<string, Buffer | null>();
  let totalBytes = 0;
  for (const path of new Set(paths)) {
    const bytes = await tree.readFile(path, MAX_FILE_BYTES);
    totalBytes += bytes?.length ?? 0;
    if (totalBytes > MAX_TOTAL_BYTES) {
      throw new AgentError(
        "SOURCE_TOO_LARGE",
        `the files of the lock have more than ${MAX_TOTAL_BYTES} bytes together`,
      );
    }
    files.set(path, bytes);
  }
  return files;
}

/** Returns path → SHA-256 in hex, null for a missing file: what `verifyManifest` compares with the lock. */
export function digestFiles(files: ReadonlyMap<string, Buffer | null>): ReadonlyMap<string, string | null> {
  return new Map([...files].map(([path, bytes]) => [path, bytes === null ? null : digestOf(bytes)]));
}
