import { AgentError, codes, type Json, toAgentError } from "../errors.ts";
import { openCommitTree, resolveCommit } from "../host/git-command.ts";
import { openWorkTree } from "../host/work-tree.ts";
import { quoteText } from "../policy/parsed.ts";
import { readFresh } from "../source/read-fresh.ts";
import type { Tree } from "../source/read-manifest.ts";
import { walkRoots } from "../source/read-roots.ts";
import { formatTime } from "../trust/fields.ts";
import { judgeFresh } from "../trust/freshness.ts";
import { digestOf, type Lock } from "../trust/lock.ts";
import { type Root, rootPath } from "../trust/root.ts";
import type { RootInForce } from "../trust/root-chain.ts";
import { approvalDocument, describeApproval, type JudgedLock, judgeLocks, judgeNow } from "./judge-locks.ts";
import { loadNewestRoot, loadRoot } from "./load-root.ts";
import type { Output } from "./output.ts";
import { findLastLocks } from "./plan-lock.ts";

export interface VerifyOptions {
  readonly repositoryFolder: string;
  /** The root of trust to begin at; default: the newest one in the repository, which proves less. */
  readonly root?: string;
  /** A revision to read from Git's objects; default: the working tree. */
  readonly commit?: string;
}

/**
 * Says who approved what and what is missing, as a gateway with that root would see it that has what is on the branch.
 * Returns 0 when it holds, else the exit status of the code that a gateway would refuse it with.
 * @throws AgentError USAGE, TRUST_ROOT_INVALID, SOURCE_FILE
 */
export async function verify(options: VerifyOptions, output: Output): Promise<number> {
  const { tree, where } = await openPlace(options);
  const { root, broken } = await findRoot(options, tree, output);
  const [common, ...parts] = await judgeTree(options.repositoryFolder, root, tree);
  if (common === undefined) throw new Error("there is always a common lock to judge");
  const locks = [common, ...parts];
  const refused = locks.find(({ result }) => !result.ok)?.result;
  const verdict =
    broken ??
    (refused?.ok === false ? new AgentError(refused.code, refused.message, { remedy: refused.remedy }) : null);

  output.line(`${where}, judged by ${rootText(options, root)}`);
  if (options.root === undefined) {
    output.note(
      "A root from the repository shows who is meant to sign; use --root with the file of a gateway for proof.",
    );
  }
  for (const judged of locks) {
    if (judged.lock !== null) for (const line of describeLock(judged)) output.line(line);
    if (judged.lock !== null) for (const line of describeApproval(judged)) output.line(line);
  }
  const fresh = await describeFresh(tree, root, common.lock);
  if (fresh !== null) output.line(fresh);
  if (verdict === null) {
    const by = [...new Set(locks.flatMap(({ result }) => (result.ok ? result.approvedBy : [])))].sort();
    output.line(`OK: serial ${common.lock?.serial} is approved by ${by.join(", ")}.`);
  } else output.line(`${verdict.code}: ${verdict.message}\n  → ${verdict.remedy}`);
  output.document({
    place: where,
    root: root.root,
    lock: lockDocument(common),
    ...approvalDocument(common),
    parts: parts.map((part) => ({ lock: lockDocument(part), ...approvalDocument(part), ok: part.result.ok })),
    ...(verdict === null
      ? { ok: true }
      : { ok: false, code: verdict.code, message: verdict.message, remedy: verdict.remedy }),
  });
  return verdict === null ? 0 : codes[verdict.code].exit;
}

/** Returns the locks of a tree of a clone with their verdicts, by what is on the branch that they are for. */
export async function judgeTree(folder: string, root: Root, tree: Tree): Promise<readonly JudgedLock[]> {
  const [first] = await judgeLocks(tree, root, null);
  const branch = first?.lock?.branch ?? "main";
  return await judgeLocks(tree, root, await findLastLocks(folder, root, tree, branch));
}

async function findRoot(
  options: VerifyOptions,
  tree: Tree,
  output: Output,
): Promise<{ readonly root: Root; readonly broken: AgentError | null }> {
  if (options.root === undefined) return { root: (await loadNewestRoot(tree)).root, broken: null };
  let reached: RootInForce = await loadRoot(options.root);
  try {
    await walkRoots(tree, reached, judgeNow, async (next) => {
      reached = next;
      output.note(`Root ${next.root.root} is approved by the root before it and by itself.`);
    });
    return { root: reached.root, broken: null };
  } catch (error) {
    return { root: reached.root, broken: toAgentError(error, "TRUST_ROOT_CHAIN", "the chain of roots is broken") };
  }
}

function rootText(options: VerifyOptions, root: Root): string {
  if (options.root === undefined) return `${rootPath(root.root)} of the repository itself`;
  return `${options.root}${root.root === 1 ? "" : `, by which root ${root.root} is in force`}`;
}

async function openPlace({ repositoryFolder, commit }: VerifyOptions): Promise<{ tree: Tree; where: string }> {
  if (commit === undefined) return { tree: openWorkTree(repositoryFolder), where: "The working tree" };
  const id = await resolveCommit(repositoryFolder, commit);
  if (id !== null) return { tree: openCommitTree(repositoryFolder, id), where: `Commit ${id}` };
  throw new AgentError("USAGE", `there is no commit ${quoteText(commit)}`, {
    remedy: "fetch it first, or correct --commit",
  });
}

function describeLock({ lock, files, path }: JudgedLock): readonly string[] {
  if (lock === null) return [];
  const part = lock.part === undefined ? "" : ` of ${path}`;
  return [
    `Serial ${lock.serial}${part} for ${lock.repository}, branch ${lock.branch}, group ${lock.group}`,
    ...[...files].map(([file, digest]) => `  ${fileState(lock, file, digest)} ${file}`),
  ];
}

function fileState(lock: Lock, path: string, digest: string | null): "same" | "missing" | "changed" {
  if (digest === null) return "missing";
  return digest === lock.files[path] ? "same" : "changed";
}

async function describeFresh(tree: Tree, root: Root, lock: Lock | null): Promise<string | null> {
  const statement = lock === null ? null : await readFresh(tree, root);
  if (statement === null || lock === null) return null;
  const verdict = judgeFresh({ root, ...statement, ...judgeNow, expected: lock, serial: lock.serial });
  if (!verdict.ok) return `The statement of freshness does not count: ${verdict.why}`;
  return `Vouched for as the newest until ${formatTime(verdict.validUntilMs)}.`;
}

function lockDocument({ lock, lockBytes }: JudgedLock): Json {
  if (lock === null || lockBytes === null) return null;
  const { part, ...rest } = lock;
  return { ...rest, ...(part === undefined ? {} : { part }), files: { ...lock.files }, digest: digestOf(lockBytes) };
}
