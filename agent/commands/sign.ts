import { join } from "node:path";
import { AgentError, type Json } from "../errors.ts";
import { replaceFile } from "../host/files.ts";
import { signWithSshKeygen } from "../host/ssh-keygen.ts";
import { isWithin, openWorkTree, removeFolders } from "../host/work-tree.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import {
  APPROVALS_FOLDER,
  approvalFolder,
  approvalPath,
  countPolicyApprovals,
  POLICY_NAMESPACE,
} from "../trust/approvals.ts";
import { digestOf, renderLock } from "../trust/lock.ts";
import { policyPrincipals, type Root } from "../trust/root.ts";
import { missingOf } from "../trust/verify-approval.ts";
import { findApproved } from "./find-approved.ts";
import { approvalDocument, describeApproval, type JudgedLock, judgeNow } from "./judge-locks.ts";
import { loadNewestRoot } from "./load-root.ts";
import { describePolicy, describeSince, type FileChange, listFileChanges, type PolicyChange } from "./lock-changes.ts";
import type { Output } from "./output.ts";
import { type LockPlan, planLocks } from "./plan-lock.ts";
import { rebaseBranch } from "./rebase-branch.ts";
import { signFresh } from "./sign-fresh.ts";
import { signRecovery } from "./sign-recovery.ts";
import { signRoot } from "./sign-root.ts";
import { findSigningKey, type SigningKey } from "./signing-key.ts";
import { judgeTree } from "./verify.ts";

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
  /** Brings the branch up to date with the one that gateways follow first. */
  readonly rebase?: boolean;
  /** Says that most of what is allowed is meant to go. */
  readonly acceptRemoval?: boolean;
  /** Approves the newest root of trust instead of the policy. */
  readonly rootOfTrust?: boolean;
  /** Vouches, for so many hours, that the lock is the newest, instead of approving it. */
  readonly fresh?: number;
  /** Approves the request of a gateway that lost its state instead. */
  readonly recovery?: string;
}

/**
 * Approves what a working clone holds: shows what would change, writes each lock unless it already says so, signs those
 * that the caller may approve, and says who is missing. Nothing is written before a signature is made and verified.
 * Returns 0.
 * @throws AgentError USAGE, SOURCE_FILE, POLICY_INVALID, TRUST_LOCK_INVALID, TRUST_LOCK_MISMATCH, TRUST_SIGNING_FAILED
 */
export async function sign(options: SignOptions, output: Output): Promise<number> {
  if (options.rootOfTrust === true) return await signRoot(options, output);
  if (options.fresh !== undefined) return await signFresh({ ...options, fresh: options.fresh }, output);
  if (options.recovery !== undefined) return await signRecovery({ ...options, recovery: options.recovery }, output);
  return await signPolicy(options, output);
}

async function signPolicy(options: SignOptions, output: Output): Promise<number> {
  const folder = options.repositoryFolder;
  const rebased = options.rebase === true ? await rebaseBranch(folder, options.branch ?? null, output) : false;
  const tree = openWorkTree(folder);
  const { root } = await loadNewestRoot(tree);
  const principals = policyPrincipals(root);
  const choice = { key: options.key ?? null, principal: options.principal ?? null };
  const key = await findSigningKey([{ root, principals }], choice);
  const plans = await planLocks(
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
  const policy = await describePolicy(plans);
  const mine = pickPlans(plans, root, await judgeTree(folder, root, tree), key);
  for (const line of describePlans(plans, policy.lines)) output.line(line);
  for (const line of await describeApproved(folder, root, plans, key)) output.line(line);
  if (mine.toSign.length > 0 && options.acceptRemoval !== true) refuseMassRemoval(policy);

  const made = new Map<LockPlan, Buffer>();
  for (const plan of mine.toSign) made.set(plan, await makeApproval(root, plan, key, output));
  const removed = await writeApprovals(folder, plans, made, key);
  const judged = await judgeTree(folder, root, openWorkTree(folder));
  for (const plan of plans) {
    if (made.has(plan)) output.line(describeSigned(plan, key));
    else if (mine.already.includes(plan)) output.line(`${key.principal} has approved ${nameOf(plan)} already.`);
  }
  for (const line of describeNext(plans, judged, rebased)) output.line(line);
  output.document(documentOf(plans, judged, { key, policy: policy.lines, removed }));
  return 0;
}

/**
 * The common lock is always the caller's to approve, when the root lets them; the locks of teams only when they changed
 * or wait for somebody.
 */
function pickPlans(
  plans: readonly LockPlan[],
  root: Root,
  judged: readonly JudgedLock[],
  { principal }: SigningKey,
): { readonly toSign: readonly LockPlan[]; readonly already: readonly LockPlan[] } {
  const stateOf = (plan: LockPlan): JudgedLock | undefined =>
    plan.kept ? judged.find(({ part }) => part === plan.part) : undefined;
  const already = plans.filter((plan) => stateOf(plan)?.count.counted.includes(principal) === true);
  const may = plans.filter((plan) => {
    if (already.includes(plan)) return false;
    if (plan.part === null) return root.roles.policy.principals.includes(principal) || !isSettled(stateOf(plan));
    return plan.part.principals.includes(principal)
      ? !isSettled(stateOf(plan))
      : waitsForPolicy(stateOf(plan), principal);
  });
  // Who is asked for nothing else may still add a voice to the common lock.
  return { toSign: may, already };
}

function isSettled(judged: JudgedLock | undefined): boolean {
  return judged?.requirements.every((asked) => missingOf(asked, judged.count.counted) === 0) ?? false;
}

function waitsForPolicy(judged: JudgedLock | undefined, principal: string): boolean {
  return (
    judged?.requirements.some(
      (asked) => asked.principals.includes(principal) && missingOf(asked, judged.count.counted) > 0,
    ) ?? false
  );
}

function refuseMassRemoval({ massRemoval }: PolicyChange): void {
  if (massRemoval === null) return;
  const { removed, entries } = massRemoval;
  throw new AgentError("USAGE", `${removed} of ${entries} allowed names and networks would go; nothing was signed`, {
    remedy: "see whether a file was cut off or left out; if all of it is meant, sign with --accept-removal",
  });
}

async function makeApproval(root: Root, plan: LockPlan, key: SigningKey, output: Output): Promise<Buffer> {
  output.note(
    `Signing ${nameOf(plan)} as ${key.principal} with ${key.fingerprint} (${key.candidate.origin}); touch the key if it blinks.`,
  );
  const signature = await signWithSshKeygen(key.candidate, POLICY_NAMESPACE, plan.bytes);
  const check = countPolicyApprovals(root, plan.bytes, new Map([[key.principal, signature]]), judgeNow);
  if (check.counted.includes(key.principal)) return signature;
  const why = check.rejected[0]?.why ?? "it was not counted";
  throw new AgentError("TRUST_SIGNING_FAILED", `gateways would not count the signature that ssh-keygen made: ${why}`, {
    remedy: "use another key of the root",
  });
}

/**
 * Writes signatures first: a lock without its approvals would look like an accident. Approvals of the branch's own lock
 * stay until the next time: were they gone, Git would take the new ones for them renamed, and refuse to merge a change
 * beside one that adds an approval there. Returns the stale folders that were removed.
 */
async function writeApprovals(
  folder: string,
  plans: readonly LockPlan[],
  made: ReadonlyMap<LockPlan, Buffer>,
  key: SigningKey,
): Promise<readonly string[]> {
  for (const plan of plans) {
    // Throws when a symbolic link would lead the writes out of the clone.
    await isWithin(folder, approvalPath(digestOf(plan.bytes), key.principal));
    await isWithin(folder, plan.path);
  }
  for (const [plan, signature] of made) {
    await replaceFile(join(folder, approvalPath(digestOf(plan.bytes), key.principal)), signature);
  }
  for (const plan of plans) await replaceFile(join(folder, plan.path), plan.bytes);
  const locks = plans.flatMap(({ bytes, base }) => [bytes, ...(base === null ? [] : [renderLock(base.lock)])]);
  const keep = new Set(locks.map((bytes) => approvalFolder(digestOf(bytes)).slice(APPROVALS_FOLDER.length + 1)));
  return await removeFolders(folder, APPROVALS_FOLDER, (name) => /^[0-9a-f]{16}$/.test(name) && !keep.has(name));
}

/** Returns what differs from what the caller approved on this branch before, so that nobody reads the same twice. */
async function describeApproved(
  folder: string,
  root: Root,
  plans: readonly LockPlan[],
  { principal }: SigningKey,
): Promise<readonly string[]> {
  const [common] = plans;
  if (common === undefined) return [];
  const approved = await findApproved(folder, root, principal, common);
  if (approved === null) return [];
  const changes = await describeSince(approved.tree, plans);
  const head = `${principal} approved serial ${approved.serial} of this before (commit ${approved.commit.slice(0, 12)}). Since then:`;
  return changes.length === 0
    ? [`${head} nothing else is allowed or denied.`]
    : [head, ...changes.map((line) => `    ${line}`)];
}

function describePlans(plans: readonly LockPlan[], policy: readonly string[]): readonly string[] {
  return [...plans.flatMap(describePlan), ...policy.map((line) => `    ${line}`)];
}

function describePlan(plan: LockPlan): readonly string[] {
  const { lock, kept, base, part } = plan;
  const changes = listFileChanges(plan);
  // A team's lock that nobody touched is nothing to read about.
  if (part !== null && kept && changes.length === 0) return [];
  const since = base === null ? "the first lock" : `since serial ${base.lock.serial} (${base.ref})`;
  const whose = part === null ? "" : ` of ${part.name}`;
  const head = `Serial ${lock.serial}${whose} for ${lock.repository}, branch ${lock.branch}, group ${lock.group}: ${since}.`;
  const files = changes.map(({ sign: mark, path }) => `  ${mark} ${path}`);
  return [
    head,
    ...(files.length === 0 ? ["  No file is different."] : files),
    ...(kept ? ["The lock is there already; the same bytes are approved."] : []),
  ];
}

function nameOf({ lock, part }: LockPlan): string {
  return part === null ? `serial ${lock.serial}` : `serial ${lock.serial} of ${part.name}`;
}

function describeSigned(plan: LockPlan, key: SigningKey): string {
  return `Signed ${nameOf(plan)} as ${key.principal}: ${approvalPath(digestOf(plan.bytes), key.principal)}`;
}

/** Returns who has approved, who is missing, and what to run next, here and by the next person. */
function describeNext(plans: readonly LockPlan[], judged: readonly JudgedLock[], rebased: boolean): readonly string[] {
  const isMissing = judged.some((one) => !isSettled(one));
  const paths = [
    ...plans.map(({ path }) => path),
    APPROVALS_FOLDER,
    ...plans.flatMap(({ contents }) => [...contents.keys()]),
  ];
  const by = [...new Set(judged.flatMap(({ count }) => count.counted))].sort(compareTexts).join(", ");
  const serial = plans[0]?.lock.serial;
  const push = rebased ? "git push --force-with-lease" : "git push";
  return [
    ...judged.flatMap((one) => [...(one.part === null ? [] : [`${one.path}:`]), ...describeApproval(one)]),
    "Commit and push:",
    `  git add -A -- ${paths.map(quoteArgument).join(" ")} && git commit -m "policy: serial ${serial}, approved by ${by}" && ${push}`,
    ...(isMissing ? [] : ["Enough people have approved; it can be merged."]),
    ...(isMissing ? ["Each of those who are missing runs, on the same branch:"] : []),
    ...(isMissing ? [`  git pull${rebased ? " --rebase" : ""} && clawgress sign`] : []),
  ];
}

interface Done {
  readonly key: SigningKey;
  readonly policy: readonly string[];
  readonly removed: readonly string[];
}

function documentOf(plans: readonly LockPlan[], judged: readonly JudgedLock[], { key, policy, removed }: Done): Json {
  const fileDocument = ({ sign: mark, path }: FileChange): Json => ({ sign: mark, path });
  const locks = plans.map((plan) => {
    const state = judged.find(({ part }) => part === plan.part);
    return {
      part: plan.part?.name ?? null,
      serial: plan.lock.serial,
      lockDigest: digestOf(plan.bytes),
      lockKept: plan.kept,
      file: approvalPath(digestOf(plan.bytes), key.principal),
      changes: { files: listFileChanges(plan).map(fileDocument), policy: [...policy] },
      ...(state === undefined ? {} : approvalDocument(state)),
    };
  });
  const [common] = locks;
  return { ...common, principal: key.principal, key: key.fingerprint, removed: [...removed], locks };
}

function quoteArgument(text: string): string {
  return /^[A-Za-z0-9._/@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
