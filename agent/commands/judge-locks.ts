import type { Json } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { quoteText } from "../policy/parsed.ts";
import { type LockFiles, readLocks } from "../source/read-locks.ts";
import { digestFiles, readPaths, type Tree } from "../source/read-manifest.ts";
import { approvalFolder, type Count, countPolicyApprovals, type Judge } from "../trust/approvals.ts";
import { digestOf, type Lock, lockPath } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { emptyPointers } from "../trust/pointers.ts";
import { type KnownLock, requireForLocks } from "../trust/require-for-locks.ts";
import { fullRequirement, POLICY_RULE, type Requirement } from "../trust/requirements.ts";
import type { Root } from "../trust/root.ts";
import { judgeLock, type ManifestResult, missingOf, openLock } from "../trust/verify-approval.ts";
import { POLICY_PATH } from "./plan-lock.ts";

/** A clone knows of no revocation but the root's, and sees every signature now. */
export const judgeNow: Judge = { revoked: new Set(), seenAtMs: () => nowMs() };

/** A lock as a gateway would judge it that has what came before, and how far its approval has come. */
export interface JudgedLock extends LockFiles {
  readonly path: string;
  readonly lock: Lock | null;
  readonly count: Count;
  readonly requirements: readonly Requirement[];
  /** path → SHA-256 in hex of each file that it lists; null for a missing one. */
  readonly files: ReadonlyMap<string, string | null>;
  readonly result: ManifestResult;
  /** Names in the folder of its approvals. */
  readonly names: readonly string[];
}

/** Signature files in the folder of one lock, beyond those of principals. */
const MAX_APPROVAL_FILES = 10_000;

/** Returns the locks of a tree with their verdicts, the common one first. `last` is what the gateways have. */
export async function judgeLocks(
  tree: Tree,
  root: Root,
  last: ReadonlyMap<string | null, KnownLock> | null,
): Promise<readonly JudgedLock[]> {
  const found = await readLocks(tree, root);
  const parsed = found.map(({ part, lockBytes }) => {
    const result = lockBytes === null ? null : parseLock(lockBytes, lockPath(part?.name ?? null));
    return result?.ok === true ? result.lock : null;
  });
  const paths = parsed.flatMap((lock) => Object.keys(lock?.files ?? {}));
  const present = await readPaths(tree, paths);
  const known = found.flatMap(({ part }, index) => {
    const lock = parsed[index];
    return lock == null ? [] : [{ part, lock }];
  });
  const required = requireForLocks({ root, policyPath: POLICY_PATH, last, locks: known, present });
  const judged: JudgedLock[] = [];
  for (const [index, files] of found.entries()) {
    const lock = parsed[index] ?? null;
    const at = known.findIndex((one) => one.lock === lock);
    const requirements = required[at] ?? [fullRequirement(root)];
    judged.push(await judgeOne(tree, root, files, lock, requirements, present));
  }
  return judged;
}

async function judgeOne(
  tree: Tree,
  root: Root,
  files: LockFiles,
  lock: Lock | null,
  requirements: readonly Requirement[],
  present: ReadonlyMap<string, Buffer | null>,
): Promise<JudgedLock> {
  const { part, lockBytes, signatures } = files;
  const expected = { repository: root.repository, branch: lock?.branch ?? "main", group: lock?.group ?? "default" };
  const opened = openLock({ root, part, lockBytes, expected, signatures, ...judgeNow });
  const listed = Object.keys(lock?.files ?? {}).map((path) => [path, present.get(path) ?? null] as const);
  const digests = digestFiles(new Map(listed));
  const { verified } = emptyPointers;
  const result = opened.ok
    ? judgeLock(opened, { root, requirements, verified, files: digests, insecure: false })
    : opened;
  const none: Count = { counted: [], rejected: [], missing: 1 };
  const count =
    lockBytes === null || lock === null ? none : countPolicyApprovals(root, lockBytes, signatures, judgeNow);
  const names = lockBytes === null ? [] : await tree.listFiles(approvalFolder(digestOf(lockBytes)), MAX_APPROVAL_FILES);
  return { ...files, path: lockPath(part?.name ?? null), lock, count, requirements, files: digests, result, names };
}

/** Returns how far the approval has come, a line for each that it needs, and what does not count. */
export function describeApproval({ count, requirements, names, signatures }: JudgedLock): readonly string[] {
  const ignored = names.filter((name) => ![...signatures.keys()].some((principal) => name === `${principal}.sig`));
  return [
    ...requirements.map((requirement) => describeRequirement(requirement, count.counted)),
    ...count.rejected.map(({ file, why }) => `  ${file} does not count: ${why}`),
    ...ignored.map((name) => `  ${quoteText(name)} is ignored: it is the file of nobody who may approve`),
  ];
}

function describeRequirement(requirement: Requirement, counted: readonly string[]): string {
  const { rule, tightens, principals, threshold } = requirement;
  const mine = counted.filter((name) => principals.includes(name));
  const others = principals.filter((name) => !counted.includes(name));
  const missing = missingOf(requirement, counted);
  const head = rule === POLICY_RULE ? "Approved by" : `By rule ${rule}: approved by`;
  const tighten = tightens ? " (it lets nothing more through)" : "";
  const more = missing > 0 ? `; ${missing} more of ${others.join(", ")} must approve` : "";
  return `${head} ${mine.join(", ") || "nobody"}: ${mine.length} of ${threshold}${tighten}${more}`;
}

/** Returns the same for machines. */
export function approvalDocument({ count, requirements, names, signatures }: JudgedLock): {
  readonly [key: string]: Json;
} {
  const [first] = requirements;
  const all = [...new Set(requirements.flatMap(({ principals }) => principals))].sort();
  return {
    approvedBy: [...count.counted],
    threshold: first?.threshold ?? 0,
    missing: Math.max(0, ...requirements.map((requirement) => missingOf(requirement, count.counted))),
    mayApprove: all.filter((name) => !count.counted.includes(name)),
    requirements: requirements.map(({ rule, tightens, principals, threshold }) => {
      return { rule, tightens, principals: [...principals], threshold };
    }),
    rejected: count.rejected.map(({ file, why }) => ({ file, why })),
    ignored: names.filter((name) => ![...signatures.keys()].some((principal) => name === `${principal}.sig`)),
  };
}
