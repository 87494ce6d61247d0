import { AgentError } from "../errors.ts";
import { listConverted, openCommitTree, resolveCommit } from "../host/git-command.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import type { Tree } from "../source/read-manifest.ts";
import { readPolicyFiles } from "../source/read-policy-files.ts";
import { digestOf, LOCK_PATH, type Lock, MAX_LOCK_BYTES, refusePath, renderLock } from "../trust/lock.ts";
import { nextLock } from "../trust/next-lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import type { Root } from "../trust/root.ts";
import type { Target } from "../trust/verify-approval.ts";

export const POLICY_PATH = "policy.json";
const DEFAULT_BRANCH = "main";
const DEFAULT_GROUP = "default";
/** 100,000 entries with all their fields. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

export interface LockOptions {
  readonly repositoryFolder: string;
  /** Null: the serial of the branch + 1. */
  readonly serial: number | null;
  /** Files to list besides those that the lock lists already, and those that any of them includes. */
  readonly files: readonly string[];
  /** Null: as in the lock that is there; `main` for the first one. */
  readonly branch: string | null;
  /** Null: as in the lock that is there; `default` for the first one. */
  readonly group: string | null;
}

export interface LockPlan {
  readonly lock: Lock;
  readonly bytes: Buffer;
  /** True when the lock is there already and nothing needs to be written. */
  readonly kept: boolean;
  /** Where the last serial was read, and the lock there; null when the branch has none. */
  readonly base: { readonly ref: string; readonly tree: Tree; readonly lock: Lock } | null;
  /** Path → bytes in the working tree. */
  readonly contents: ReadonlyMap<string, Buffer>;
}

/** Returns the lock to approve for a working tree, without writing anything. @throws AgentError USAGE, TRUST_LOCK_INVALID, SOURCE_FILE */
export async function planLock(options: LockOptions, root: Root, tree: Tree): Promise<LockPlan> {
  const { repositoryFolder, serial } = options;
  const current = await readLock(tree, "the working tree", true);
  const branch = options.branch ?? current?.branch ?? DEFAULT_BRANCH;
  const base = await findBase(repositoryFolder, branch, serial !== null);
  const known = current ?? base?.lock ?? null;
  const target: Target = {
    repository: root.repository,
    branch: options.branch ?? known?.branch ?? DEFAULT_BRANCH,
    group: options.group ?? known?.group ?? DEFAULT_GROUP,
  };
  const contents = await readFiles(tree, known, options.files);
  await assertStoredAsIs(repositoryFolder, [...contents.keys()]);
  const files = Object.fromEntries([...contents].map(([path, bytes]) => [path, digestOf(bytes)]));
  const next = nextLock({ base: base?.lock ?? null, current, target, files, serial });
  if (!next.ok) throw new AgentError("USAGE", next.why, { remedy: "leave --serial out, or give a higher one" });
  const bytes = renderLock(next.lock);
  const check = parseLock(bytes);
  if (check.ok) return { lock: next.lock, bytes, kept: next.kept, base, contents };
  throw new AgentError("USAGE", check.issues.map(formatTextIssue).join("\n"), {
    remedy: "correct the option or rename the file that is named above",
  });
}

async function readLock(tree: Tree, where: string, lenient: boolean): Promise<Lock | null> {
  const bytes = await tree.readFile(LOCK_PATH, MAX_LOCK_BYTES);
  if (bytes === null) return null;
  const parsed = parseLock(bytes);
  if (parsed.ok) return parsed.lock;
  // In the working tree it may be half merged; it is about to be written anew.
  if (lenient) return null;
  throw new AgentError("TRUST_LOCK_INVALID", `${where}: ${parsed.issues.map(formatTextIssue).join("\n")}`, {
    remedy: "give the serial to continue from with --serial",
  });
}

/** The branch as it was fetched comes first: a local one may lag behind, or be ahead by what is not approved yet. */
async function findBase(folder: string, branch: string, lenient: boolean): Promise<LockPlan["base"]> {
  for (const ref of [`refs/remotes/origin/${branch}`, `refs/heads/${branch}`, "HEAD"]) {
    const commit = await resolveCommit(folder, ref);
    if (commit === null) continue;
    const tree = openCommitTree(folder, commit);
    const lock = await readLock(tree, ref, lenient);
    return lock === null ? null : { ref, tree, lock };
  }
  return null;
}

async function readFiles(
  tree: Tree,
  known: Lock | null,
  more: readonly string[],
): Promise<ReadonlyMap<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const path of new Set([POLICY_PATH, ...Object.keys(known?.files ?? {}), ...more])) {
    const why = refusePath(path);
    if (why !== null) throw new AgentError("USAGE", `${quoteText(path)} cannot be listed: ${why}`);
    const bytes = await tree.readFile(path, MAX_FILE_BYTES);
    // A listed file that was removed leaves the lock; one that the caller names has to be there.
    if (bytes !== null) contents.set(path, bytes);
    else if (more.includes(path)) throw new AgentError("USAGE", `there is no file ${quoteText(path)}`);
  }
  for (const [path, bytes] of await readPolicyFiles(tree, [...contents.keys()])) contents.set(path, bytes);
  if (contents.size > 0) return contents;
  throw new AgentError("USAGE", `there is no ${POLICY_PATH} in the working tree`, {
    remedy: "name the files of the policy with --file, or the folder with --repository-folder",
  });
}

async function assertStoredAsIs(folder: string, paths: readonly string[]): Promise<void> {
  const converted = await listConverted(folder, paths);
  if (converted.length === 0) return;
  const names = converted.map(quoteText).join(", ");
  throw new AgentError("TRUST_LOCK_MISMATCH", `git would commit other bytes of ${names} than the working tree has`, {
    remedy: "switch conversion off for them: add a line `* -text` to .gitattributes, or convert their line ends",
  });
}
