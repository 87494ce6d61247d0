import { AgentError, codes, type Json } from "../errors.ts";
import { openCommitTree, resolveCommit } from "../host/git-command.ts";
import { openWorkTree } from "../host/work-tree.ts";
import { quoteText } from "../policy/parsed.ts";
import { digestFiles, readApprovals, readListedFiles, type Tree } from "../source/read-manifest.ts";
import { approvalFolder, type Count, countPolicyApprovals } from "../trust/approvals.ts";
import { digestOf, LOCK_PATH, type Lock, MAX_LOCK_BYTES } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { emptyPointers } from "../trust/pointers.ts";
import { MAX_ROOT_FILES, ROOT_FOLDER, type Root, rootPath } from "../trust/root.ts";
import { refuseNewerRoot } from "../trust/root-chain.ts";
import { type ManifestResult, verifyManifest } from "../trust/verify-approval.ts";
import { loadNewestRoot, loadRoot } from "./load-root.ts";
import type { Output } from "./output.ts";

export interface VerifyOptions {
  readonly repositoryFolder: string;
  /** The root of trust to judge by; default: the newest one in the repository, which proves less. */
  readonly root?: string;
  /** A revision to read from Git's objects; default: the working tree. */
  readonly commit?: string;
}

/** Signature files in the folder of one lock, beyond those of principals. */
const MAX_APPROVAL_FILES = 10_000;

/**
 * Says who approved what and what is missing, as a gateway with that root would see it for the first time. Returns 0
 * when it holds, else the exit status of the code that a gateway would refuse it with.
 * @throws AgentError USAGE, TRUST_ROOT_INVALID, SOURCE_FILE
 */
export async function verify(options: VerifyOptions, output: Output): Promise<number> {
  const { tree, where } = await openPlace(options);
  const root = options.root === undefined ? await loadNewestRoot(tree) : await loadRoot(options.root);
  const lockBytes = await tree.readFile(LOCK_PATH, MAX_LOCK_BYTES);
  const parsed = lockBytes === null ? null : parseLock(lockBytes);
  const lock = parsed?.ok === true ? parsed.lock : null;
  const signatures = await readApprovals(tree, root, lockBytes);
  const files = digestFiles(await readListedFiles(tree, lockBytes));
  const newer = refuseNewerRoot(root, await tree.listFiles(ROOT_FOLDER, MAX_ROOT_FILES));
  const result: ManifestResult =
    newer ??
    verifyManifest({
      root,
      lockBytes,
      expected: {
        repository: root.repository,
        branch: lock?.branch ?? "main",
        group: lock?.group ?? "default",
      },
      verified: emptyPointers.verified,
      files,
      signatures,
      insecure: false,
    });
  const count = lockBytes === null || lock === null ? null : countPolicyApprovals(root, lockBytes, signatures);
  const ignored = lockBytes === null ? [] : await listIgnored(tree, root, lockBytes);

  output.line(`${where}, judged by ${options.root ?? `${rootPath(root.root)} of the repository itself`}`);
  if (options.root === undefined) {
    output.note(
      "A root from the repository shows who is meant to sign; use --root with the file of a gateway for proof.",
    );
  }
  if (lock !== null) for (const line of describeLock(lock, files)) output.line(line);
  if (count !== null) for (const line of describeCount(root, count, ignored)) output.line(line);
  if (result.ok) output.line(`OK: serial ${result.lock.serial} is approved by ${result.approvedBy.join(", ")}.`);
  else output.line(`${result.code}: ${result.message}\n  → ${result.remedy}`);
  output.document({
    place: where,
    root: root.root,
    lock: lockDocument(lock, lockBytes),
    ...countDocument(root, count, ignored),
    ...verdict(result),
  });
  return result.ok ? 0 : codes[result.code].exit;
}

async function openPlace({ repositoryFolder, commit }: VerifyOptions): Promise<{ tree: Tree; where: string }> {
  if (commit === undefined) return { tree: openWorkTree(repositoryFolder), where: "The working tree" };
  const id = await resolveCommit(repositoryFolder, commit);
  if (id !== null) return { tree: openCommitTree(repositoryFolder, id), where: `Commit ${id}` };
  throw new AgentError("USAGE", `there is no commit ${quoteText(commit)}`, {
    remedy: "fetch it first, or correct --commit",
  });
}

/** Files beside the approvals that no gateway looks at. */
async function listIgnored(tree: Tree, root: Root, lockBytes: Buffer): Promise<readonly string[]> {
  const names = await tree.listFiles(approvalFolder(digestOf(lockBytes)), MAX_APPROVAL_FILES);
  return names.filter((name) => !root.roles.policy.principals.some((principal) => name === `${principal}.sig`));
}

function describeLock(lock: Lock, files: ReadonlyMap<string, string | null>): readonly string[] {
  return [
    `Serial ${lock.serial} for ${lock.repository}, branch ${lock.branch}, group ${lock.group}`,
    ...[...files].map(([path, digest]) => `  ${fileState(lock, path, digest)} ${path}`),
  ];
}

function fileState(lock: Lock, path: string, digest: string | null): "same" | "missing" | "changed" {
  if (digest === null) return "missing";
  return digest === lock.files[path] ? "same" : "changed";
}

function describeCount(
  root: Root,
  { counted, rejected, missing }: Count,
  ignored: readonly string[],
): readonly string[] {
  const { principals, threshold } = root.roles.policy;
  const others = principals.filter((name) => !counted.includes(name));
  return [
    `Approved by ${counted.join(", ") || "nobody"}: ${counted.length} of ${threshold}` +
      (missing > 0 ? `; ${missing} more of ${others.join(", ")} must approve` : ""),
    ...rejected.map(({ file, why }) => `  ${file} does not count: ${why}`),
    ...ignored.map((name) => `  ${quoteText(name)} is ignored: it is the file of nobody who may approve`),
  ];
}

function lockDocument(lock: Lock | null, lockBytes: Buffer | null): Json {
  if (lock === null || lockBytes === null) return null;
  return { ...lock, files: { ...lock.files }, digest: digestOf(lockBytes) };
}

function countDocument(root: Root, count: Count | null, ignored: readonly string[]): { readonly [key: string]: Json } {
  const { principals, threshold } = root.roles.policy;
  const approvedBy = count?.counted ?? [];
  return {
    approvedBy: [...approvedBy],
    threshold,
    missing: count?.missing ?? threshold,
    mayApprove: principals.filter((name) => !approvedBy.includes(name)),
    rejected: (count?.rejected ?? []).map(({ file, why }) => ({ file, why })),
    ignored: [...ignored],
  };
}

function verdict(result: ManifestResult): { readonly [key: string]: Json } {
  if (result.ok) return { ok: true };
  return { ok: false, code: result.code, message: result.message, remedy: result.remedy };
}
