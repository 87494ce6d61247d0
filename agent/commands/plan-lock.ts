import { AgentError } from "../errors.ts";
import { findChangeBefore, listConverted, openCommitTree, resolveCommit } from "../host/git-command.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import type { Tree } from "../source/read-manifest.ts";
import { readPolicyFiles } from "../source/read-policy-files.ts";
import { digestOf, type Lock, lockPath, MAX_LOCK_BYTES, refusePath, renderLock } from "../trust/lock.ts";
import { nextLock } from "../trust/next-lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import type { KnownLock } from "../trust/require-for-locks.ts";
import type { Root, Rule } from "../trust/root.ts";
import { ownerOf, type Target } from "../trust/verify-approval.ts";

export const POLICY_PATH = "policy.json";
const DEFAULT_BRANCH = "main";
const DEFAULT_GROUP = "default";
/** 100,000 entries with all their fields. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

export interface LockOptions {
  readonly repositoryFolder: string;
  /** Null: the serial of the branch + 1. */
  readonly serial: number | null;
  /** Files to list besides those that the lock lists already. */
  readonly files: readonly string[];
  /** Null: as in the lock that is there; `main` for the first one. */
  readonly branch: string | null;
  /** Null: as in the lock that is there; `default` for the first one. */
  readonly group: string | null;
}

/** A state of the branch that the gateways follow. */
export interface Base {
  readonly ref: string;
  readonly tree: Tree;
}

export interface LockPlan {
  /** The rule whose lock it is; null: the common one. */
  readonly part: Rule | null;
  readonly path: string;
  readonly lock: Lock;
  readonly bytes: Buffer;
  /** True when the lock is there already and nothing needs to be written. */
  readonly kept: boolean;
  /** Where the last serial was read, and the lock there; null when the branch has none. */
  readonly base: (Base & { readonly lock: Lock }) | null;
  /** Path → bytes in the working tree. */
  readonly contents: ReadonlyMap<string, Buffer>;
}

/**
 * Returns the locks to approve for a working tree, without writing anything: the common one, and after it those of rules
 * that have one of their own and files to list. @throws AgentError USAGE, TRUST_LOCK_INVALID, SOURCE_FILE
 */
export async function planLocks(
  options: LockOptions,
  root: Root,
  tree: Tree,
): Promise<readonly [LockPlan, ...LockPlan[]]> {
  const { repositoryFolder, serial } = options;
  const current = await readLock(tree, null, "the working tree", true);
  const branch = options.branch ?? current?.branch ?? DEFAULT_BRANCH;
  const base = await findBase(repositoryFolder, branch);
  const baseLock = await readBaseLock(base, null, serial !== null);
  const known = current ?? baseLock ?? null;
  const target: Target = {
    repository: root.repository,
    branch: options.branch ?? known?.branch ?? DEFAULT_BRANCH,
    group: options.group ?? known?.group ?? DEFAULT_GROUP,
  };
  const parts = root.rules.filter(({ lock }) => lock);
  const currentParts = await Promise.all(parts.map((part) => readLock(tree, part, "the working tree", true)));
  const listed = [known, ...currentParts].flatMap((lock) => Object.keys(lock?.files ?? {}));
  const contents = await readFiles(tree, listed, options.files);
  await assertStoredAsIs(repositoryFolder, [...contents.keys()]);

  const plan = async (part: Rule | null, own: Lock | null, asked: number | null): Promise<LockPlan | null> => {
    const mine = new Map([...contents].filter(([path]) => ownerOf(root, path) === part));
    if (mine.size === 0) return null;
    const lock = part === null ? baseLock : await readBaseLock(base, part, false);
    return planOne({ root, part, current: own, base, baseLock: lock, target, contents: mine, serial: asked });
  };
  const common = await plan(null, current, serial);
  const others = await Promise.all(parts.map((part, index) => plan(part, currentParts[index] ?? null, null)));
  if (common !== null) return [common, ...others.filter((other) => other !== null)];
  throw new AgentError("USAGE", `there is no ${POLICY_PATH} in the working tree`, {
    remedy: "name the files of the policy with --file, or the folder with --repository-folder",
  });
}

interface PlanInput {
  readonly root: Root;
  readonly part: Rule | null;
  readonly current: Lock | null;
  readonly base: Base | null;
  readonly baseLock: Lock | null;
  readonly target: Target;
  readonly contents: ReadonlyMap<string, Buffer>;
  readonly serial: number | null;
}

function planOne({ root, part, current, base, baseLock, target, contents, serial }: PlanInput): LockPlan {
  const files = Object.fromEntries([...contents].map(([path, bytes]) => [path, digestOf(bytes)]));
  const name = part?.name ?? null;
  const next = nextLock({ base: baseLock, current, target, part: name, serials: root.serials, files, serial });
  if (!next.ok) throw new AgentError("USAGE", next.why, { remedy: "leave --serial out, or give a higher one" });
  const bytes = renderLock(next.lock);
  const path = lockPath(name);
  const check = parseLock(bytes, path);
  if (!check.ok) {
    throw new AgentError("USAGE", check.issues.map(formatTextIssue).join("\n"), {
      remedy: "correct the option or rename the file that is named above",
    });
  }
  const known = base === null || baseLock === null ? null : { ...base, lock: baseLock };
  return { part, path, lock: next.lock, bytes, kept: next.kept, base: known, contents };
}

async function readLock(tree: Tree, part: Rule | null, where: string, lenient: boolean): Promise<Lock | null> {
  const path = lockPath(part?.name ?? null);
  const bytes = await tree.readFile(path, MAX_LOCK_BYTES);
  if (bytes === null) return null;
  const parsed = parseLock(bytes, path);
  if (parsed.ok) return parsed.lock;
  // In the working tree it may be half merged; it is about to be written anew.
  if (lenient) return null;
  throw new AgentError("TRUST_LOCK_INVALID", `${where}: ${parsed.issues.map(formatTextIssue).join("\n")}`, {
    remedy: "give the serial to continue from with --serial",
  });
}

async function readBaseLock(base: Base | null, part: Rule | null, lenient: boolean): Promise<Lock | null> {
  return base === null ? null : await readLock(base.tree, part, base.ref, lenient);
}

/** The branch as it was fetched comes first: a local one may lag behind, or be ahead by what is not approved yet. */
async function findBase(folder: string, branch: string): Promise<Base | null> {
  for (const ref of [`refs/remotes/origin/${branch}`, `refs/heads/${branch}`, "HEAD"]) {
    const commit = await resolveCommit(folder, ref);
    if (commit !== null) return { ref, tree: openCommitTree(folder, commit) };
  }
  return null;
}

/**
 * Returns the locks that those of a tree come after, as the gateways that follow the branch know them: those of the
 * branch, or where they are the same, those before the last change. Null when the clone does not reach back that far.
 */
export async function findLastLocks(
  folder: string,
  root: Root,
  tree: Tree,
  branch: string,
): Promise<ReadonlyMap<string | null, KnownLock> | null> {
  const base = await findBase(folder, branch);
  if (base === null) return null;
  const last = new Map<string | null, KnownLock>();
  for (const part of [null, ...root.rules.filter(({ lock }) => lock)]) {
    const name = part?.name ?? null;
    const before = await findBefore(folder, base, tree, part);
    const lock = before === null ? null : await readLock(before, part, base.ref, true);
    if (before === null || lock === null) {
      if (part === null) return null;
      continue;
    }
    const contents = new Map<string, Buffer>();
    for (const path of Object.keys(lock.files)) {
      // What is no plain file there has no content that anybody approved.
      const bytes = await before.readFile(path, MAX_FILE_BYTES).catch(nullWhereUnreadable);
      if (bytes !== null) contents.set(path, bytes);
    }
    last.set(name, { lock, contents });
  }
  return last;
}

/** Returns null for what an older commit holds that is not to be read, such as a link in the place of a file. @throws whatever else is wrong */
export function nullWhereUnreadable(error: unknown): null {
  if (error instanceof AgentError && error.code.startsWith("SOURCE_")) return null;
  throw error;
}

async function findBefore(folder: string, base: Base, tree: Tree, part: Rule | null): Promise<Tree | null> {
  const path = lockPath(part?.name ?? null);
  const [now, then] = [await tree.readFile(path, MAX_LOCK_BYTES), await base.tree.readFile(path, MAX_LOCK_BYTES)];
  if (now === null || then === null || !now.equals(then)) return base.tree;
  const commit = await findChangeBefore(folder, base.ref, path);
  return commit === null ? null : openCommitTree(folder, commit);
}

async function readFiles(
  tree: Tree,
  listed: readonly string[],
  more: readonly string[],
): Promise<ReadonlyMap<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const path of new Set([POLICY_PATH, ...listed, ...more])) {
    const why = refusePath(path);
    if (why !== null) throw new AgentError("USAGE", `${quoteText(path)} cannot be listed: ${why}`);
    const bytes = await tree.readFile(path, MAX_FILE_BYTES);
    // A listed file that was removed leaves the lock; one that the caller names has to be there.
    if (bytes !== null) contents.set(path, bytes);
    else if (more.includes(path)) throw new AgentError("USAGE", `there is no file ${quoteText(path)}`);
  }
  for (const [path, bytes] of await readPolicyFiles(tree, [...contents.keys()])) contents.set(path, bytes);
  return contents;
}

async function assertStoredAsIs(folder: string, paths: readonly string[]): Promise<void> {
  const converted = await listConverted(folder, paths);
  if (converted.length === 0) return;
  const names = converted.map(quoteText).join(", ");
  throw new AgentError("TRUST_LOCK_MISMATCH", `git would commit other bytes of ${names} than the working tree has`, {
    remedy: "switch conversion off for them: add a line `* -text` to .gitattributes, or convert their line ends",
  });
}
