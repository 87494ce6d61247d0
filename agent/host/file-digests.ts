import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { nowMs } from "./clock.ts";

/** What is in files, without reading again those that are as they were. */
export interface FileDigests {
  /** Returns the SHA-256 of a file in hex; null when there is none, it cannot be read, or it has more than maxBytes. */
  of(path: string, maxBytes: number): Promise<string | null>;
}

/** A file whose last change is this long ago has another time once it is changed again: file systems count in milliseconds. */
const SETTLED_MS = 1_000;
const MAX_KNOWN = 10_000;

/**
 * Returns digests of nothing yet. A file is known by its inode, so that links share it, and is the same as long as its
 * size and the time of its last change are. Only who owns a file can change it and not its time.
 */
export function createFileDigests(): FileDigests {
  const known = new Map<string, { readonly stamp: string; readonly digest: string }>();
  return {
    of: async (path, maxBytes) => {
      try {
        const before = identify(path, maxBytes);
        if (before === null) return null;
        const last = known.get(before.inode);
        if (last?.stamp === before.stamp) return last.digest;
        const digest = createHash("sha256")
          .update(await readFile(path))
          .digest("hex");
        const after = identify(path, maxBytes);
        if (after?.inode !== before.inode || after.stamp !== before.stamp) return digest;
        if (known.size >= MAX_KNOWN) known.clear();
        if (nowMs() - before.changedMs > SETTLED_MS) known.set(before.inode, { stamp: before.stamp, digest });
        return digest;
      } catch {
        return null;
      }
    },
  };
}

function identify(
  path: string,
  maxBytes: number,
): { readonly inode: string; readonly stamp: string; readonly changedMs: number } | null {
  const info = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (info === undefined || !info.isFile() || info.size > maxBytes) return null;
  const inode = `${info.dev} ${info.ino}`;
  return { inode, stamp: `${info.size} ${info.mtimeNs}`, changedMs: Number(info.mtimeNs / 1_000_000n) };
}
