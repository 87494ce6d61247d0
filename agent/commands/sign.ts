import { join } from "node:path";
import { AgentError, type Json } from "../errors.ts";
import { replaceFile } from "../host/files.ts";
import { signWithSshKeygen } from "../host/ssh-keygen.ts";
import { isWithin, openWorkTree, removeFolders } from "../host/work-tree.ts";
import { readApprovals } from "../source/read-manifest.ts";
import {
  APPROVALS_FOLDER,
  approvalFolder,
  approvalPath,
  type Count,
  countPolicyApprovals,
  POLICY_NAMESPACE,
} from "../trust/approvals.ts";
import { digestOf, LOCK_PATH } from "../trust/lock.ts";
import type { Root } from "../trust/root.ts";
import { loadNewestRoot } from "./load-root.ts";
import { type ChangeReport, reportChanges } from "./lock-changes.ts";
import type { Output } from "./output.ts";
import { type LockPlan, planLock } from "./plan-lock.ts";
import { findSigningKey, type SigningKey } from "./signing-key.ts";

export interface SignOptions {
  readonly repositoryFolder: string;
  /** @see KeyChoice */
  readonly key?: string;
  readonly principal?: string;
  /** @see LockOptions */
  readonly serial?: number;
  readonly file?: readonly string[];
  readonly branch?: string;
  readonly group?: string;
}

/**
 * Approves the policy in a working clone: shows what would change, writes the lock unless it already says so, signs it
 * and says who is missing. Nothing is written before the signature is made and verified. Returns 0.
 * @throws AgentError USAGE, SOURCE_FILE, POLICY_INVALID, TRUST_LOCK_INVALID, TRUST_LOCK_MISMATCH, TRUST_SIGNING_FAILED
 */
export async function sign(options: SignOptions, output: Output): Promise<number> {
  const folder = options.repositoryFolder;
  const tree = openWorkTree(folder);
  const root = await loadNewestRoot(tree);
  const key = await findSigningKey(root, { key: options.key ?? null, principal: options.principal ?? null });
  const plan = await planLock(
    {
      repositoryFolder: folder,
      serial: options.serial ?? null,
      files: options.file ?? [],
      branch: options.branch ?? null,
      group: options.group ?? null,
    },
    root,
    tree,
  );
  const changes = await reportChanges(plan);
  for (const line of describePlan(plan, changes)) output.line(line);

  const existing = await readApprovals(tree, root, plan.bytes);
  const already = countPolicyApprovals(root, plan.bytes, existing).counted.includes(key.principal);
  const signatures = already
    ? existing
    : new Map([...existing, [key.principal, await makeApproval(root, plan, key, output)]]);
  const removed = await writeApproval(folder, plan, key, signatures);

  const count = countPolicyApprovals(root, plan.bytes, signatures);
  output.line(
    already ? `${key.principal} has approved serial ${plan.lock.serial} already.` : describeSigned(plan, key),
  );
  for (const line of describeNext(root, plan, count)) output.line(line);
  output.document({
    serial: plan.lock.serial,
    lockDigest: digestOf(plan.bytes),
    lockKept: plan.kept,
    principal: key.principal,
    key: key.fingerprint,
    file: approvalPath(digestOf(plan.bytes), key.principal),
    removed: [...removed],
    changes: {
      files: changes.files.map(({ sign: mark, path }) => ({ sign: mark, path })),
      policy: [...changes.policy],
    },
    ...documentOf(root, count),
  });
  return 0;
}

async function makeApproval(root: Root, plan: LockPlan, key: SigningKey, output: Output): Promise<Buffer> {
  output.note(
    `Signing as ${key.principal} with ${key.fingerprint} (${key.candidate.origin}); touch the key if it blinks.`,
  );
  const signature = await signWithSshKeygen(key.candidate, POLICY_NAMESPACE, plan.bytes);
  const check = countPolicyApprovals(root, plan.bytes, new Map([[key.principal, signature]]));
  if (check.counted.includes(key.principal)) return signature;
  const why = check.rejected[0]?.why ?? "it was not counted";
  throw new AgentError("TRUST_SIGNING_FAILED", `gateways would not count the signature that ssh-keygen made: ${why}`, {
    remedy: "use another key of the root",
  });
}

/** Writes the signature first: a lock without its approvals would look like an accident. Returns the stale folders that were removed. */
async function writeApproval(
  folder: string,
  plan: LockPlan,
  key: SigningKey,
  signatures: ReadonlyMap<string, Buffer>,
): Promise<readonly string[]> {
  const lockDigest = digestOf(plan.bytes);
  const path = approvalPath(lockDigest, key.principal);
  // Throws when a symbolic link would lead the writes out of the clone.
  await isWithin(folder, path);
  await isWithin(folder, LOCK_PATH);
  const signature = signatures.get(key.principal);
  if (signature !== undefined) await replaceFile(join(folder, path), signature);
  await replaceFile(join(folder, LOCK_PATH), plan.bytes);
  const keep = approvalFolder(lockDigest).slice(APPROVALS_FOLDER.length + 1);
  return await removeFolders(folder, APPROVALS_FOLDER, (name) => /^[0-9a-f]{16}$/.test(name) && name !== keep);
}

function describePlan({ lock, kept, base }: LockPlan, changes: ChangeReport): readonly string[] {
  const since = base === null ? "the first lock" : `since serial ${base.lock.serial} (${base.ref})`;
  const head = `Serial ${lock.serial} for ${lock.repository}, branch ${lock.branch}, group ${lock.group}: ${since}.`;
  const files = changes.files.map(({ sign, path }) => `  ${sign} ${path}`);
  const policy = changes.policy.map((line) => `    ${line}`);
  const nothing = files.length === 0 ? ["  No file is different."] : [];
  return [
    head,
    ...nothing,
    ...files,
    ...policy,
    ...(kept ? ["The lock is there already; the same bytes are approved."] : []),
  ];
}

function describeSigned({ lock, bytes }: LockPlan, key: SigningKey): string {
  return `Signed serial ${lock.serial} as ${key.principal}: ${approvalPath(digestOf(bytes), key.principal)}`;
}

/** Returns who has approved, who is missing, and what to run next, here and by the next person. */
function describeNext(root: Root, plan: LockPlan, { counted, rejected, missing }: Count): readonly string[] {
  const { principals, threshold } = root.roles.policy;
  const others = principals.filter((name) => !counted.includes(name));
  const paths = [LOCK_PATH, APPROVALS_FOLDER, ...plan.contents.keys()].map(quoteArgument).join(" ");
  return [
    ...rejected.map(({ file, why }) => `${file} does not count: ${why}`),
    `Approved by ${counted.join(", ")}: ${counted.length} of ${threshold}.`,
    "Commit and push:",
    `  git add -A -- ${paths} && git commit -m "policy: serial ${plan.lock.serial}, approved by ${counted.join(", ")}" && git push`,
    ...(missing === 0 ? ["Enough people have approved; it can be merged."] : []),
    ...(missing > 0 ? [`${missing} more of ${others.join(", ")} must approve. Each runs, on the same branch:`] : []),
    ...(missing > 0 ? ["  git pull && clawgress sign"] : []),
  ];
}

function documentOf(root: Root, { counted, rejected, missing }: Count): { readonly [key: string]: Json } {
  const { principals, threshold } = root.roles.policy;
  return {
    approvedBy: [...counted],
    threshold,
    missing,
    mayApprove: principals.filter((name) => !counted.includes(name)),
    rejected: rejected.map(({ file, why }) => ({ file, why })),
  };
}

function quoteArgument(text: string): string {
  return /^[A-Za-z0-9._/@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
