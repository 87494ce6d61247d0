/** What the rest of the program sees of a remote repository: a head, and the bytes of files in a commit's tree. */
import type { CommitObject } from "../trust/commit-object.ts";

/** 40 lower-case hex digits. */
export type CommitId = string;

/** Reads files of one commit straight from Git objects; nothing is ever checked out. Every object read is hash-checked. */
export interface CommitReader {
  readonly commit: CommitId;
  /** The raw bytes of the commit object. */
  readonly raw: Buffer;
  /** The same, taken apart strictly. */
  readonly object: CommitObject;
  /**
   * Returns the bytes of a regular file (mode 100644), or null when there is none at that path.
   * @throws AgentError SOURCE_FILE for a symlink, submodule, folder or executable; SOURCE_TOO_LARGE past maxBytes.
   */
  readFile(path: string, maxBytes: number): Promise<Buffer | null>;
  /** Returns the names of regular files directly in a folder, sorted; empty when the folder does not exist. */
  listFiles(folder: string, maxEntries: number): Promise<readonly string[]>;
}

/**
 * How a head stands to a commit that was believed before: the same; `forward`, when that commit is proved to be behind it;
 * `behind`, when it is itself behind that commit; `apart` else.
 */
export type Relation = "same" | "forward" | "behind" | "apart";

export interface Source {
  /** Returns the head of the configured branch by one protocol-v2 `ls-refs` request. @throws AgentError SOURCE_* */
  poll(signal: AbortSignal): Promise<CommitId>;
  /** Fetches a commit into the local object cache and opens it. @throws AgentError SOURCE_* */
  open(commit: CommitId, signal: AbortSignal): Promise<CommitReader>;
  /** Returns how a head stands to a commit that was believed before, asking the server for what lies between. @throws AgentError SOURCE_* */
  relate(floor: CommitId, head: CommitId, signal: AbortSignal): Promise<Relation>;
  close(): Promise<void>;
}
