import type { Code } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { type Count, countPolicyApprovals, type RejectedApproval } from "./approvals.ts";
import { digestOf, LOCK_PATH, type Lock } from "./lock.ts";
import { parseLock } from "./parse-lock.ts";
import type { VerifiedPointer } from "./pointers.ts";
import type { Root } from "./root.ts";

export type TrustCode = Extract<Code, `TRUST_${string}`>;

/** The lock must be for exactly this place, or an approval could be carried elsewhere. */
export interface Target {
  readonly repository: string;
  readonly branch: string;
  readonly group: string;
}

export interface ManifestInput {
  readonly root: Root;
  /** The bytes of `clawgress.lock.json` in the commit; null when there is none. */
  readonly lockBytes: Buffer | null;
  readonly expected: Target;
  /** What this gateway has verified so far. */
  readonly verified: VerifiedPointer;
  /** path → SHA-256 in hex of every file that will be read; null for one that is missing. */
  readonly files: ReadonlyMap<string, string | null>;
  /** principal → bytes of its approval, as far as there is one. @see approvalPaths */
  readonly signatures: ReadonlyMap<string, Buffer>;
  /** True accepts a lock without approvals. Target, serial and digests are checked all the same. */
  readonly insecure: boolean;
}

export interface TrustRefusal {
  readonly ok: false;
  readonly code: TrustCode;
  readonly message: string;
  readonly remedy: string;
  /** Principals whose approval holds. */
  readonly counted: readonly string[];
  readonly rejected: readonly RejectedApproval[];
  /** How many more approvals are needed. */
  readonly missing: number;
}

export interface Approved {
  readonly ok: true;
  readonly lock: Lock;
  /** SHA-256 of the lock's bytes, in hex. */
  readonly lockDigest: string;
  /** Sorted; empty when `insecure` let it pass. */
  readonly approvedBy: readonly string[];
}

export type ManifestResult = Approved | TrustRefusal;

/**
 * Returns the lock when it is for this gateway, enough people approved its exact bytes, it is not older than what was
 * verified before, and every file is what it lists; else the first of these that fails.
 *
 * The order matters: until the approvals hold, the lock is anybody's text, and an unsigned one must not be able to
 * raise the alarm of an equivocation.
 */
export function verifyManifest(input: ManifestInput): ManifestResult {
  const { root, lockBytes, expected, verified, insecure } = input;
  if (root.repository !== expected.repository) return refuse("TRUST_ROOT_INVALID", ...wrongRoot(root, expected));
  if (lockBytes === null) {
    const message = `the commit has no ${LOCK_PATH}`;
    return refuse("TRUST_LOCK_INVALID", message, "run `clawgress sign` and commit what it writes");
  }
  const parsed = parseLock(lockBytes);
  if (!parsed.ok) return refuse("TRUST_LOCK_INVALID", ...describeIssues(parsed.issues));
  const { lock } = parsed;
  const target = refuseTarget(lock, expected);
  if (target !== null) return refuse("TRUST_WRONG_TARGET", ...target);

  const lockDigest = digestOf(lockBytes);
  const approvals = countPolicyApprovals(root, lockBytes, input.signatures);
  const refuseAfter = (code: TrustCode, message: string, remedy: string): TrustRefusal => ({
    ...{ ok: false, code, message, remedy },
    ...approvals,
  });
  if (approvals.missing > 0 && !insecure)
    return refuseAfter("TRUST_UNSIGNED", ...describeMissing(lock, root, approvals));

  const order = refuseOrder({ root, lock, lockDigest, verified });
  if (order !== null) return refuseAfter(order.code, order.message, order.remedy);
  const mismatch = refuseFiles(lock, input.files);
  if (mismatch !== null) return refuseAfter("TRUST_LOCK_MISMATCH", ...mismatch);
  return { ok: true, lock, lockDigest, approvedBy: insecure ? [] : approvals.counted };
}

type Words = readonly [message: string, remedy: string];

function refuse(code: TrustCode, message: string, remedy: string): TrustRefusal {
  return { ok: false, code, message, remedy, counted: [], rejected: [], missing: 0 };
}

function wrongRoot(root: Root, expected: Target): Words {
  return [
    `the root of trust is for the repository ${quoteText(root.repository)}, not ${quoteText(expected.repository)}`,
    "correct repository.name in agent.json, or install the root of trust of that repository",
  ];
}

function describeIssues(issues: readonly TextIssue[]): Words {
  const [first] = issues;
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
  if (first === undefined) return ["the lock is malformed", "run `clawgress sign`"];
  const { place, message, remedy } = first;
  return [`${place.file}:${place.line}:${place.column}: ${message}${more}`, remedy];
}

function refuseTarget(lock: Lock, expected: Target): Words | null {
  for (const field of ["repository", "branch", "group"] as const) {
    if (lock[field] === expected[field]) continue;
    return [
      `the lock is for the ${field} ${quoteText(lock[field])}, this gateway follows ${quoteText(expected[field])}`,
      `sign a lock for ${field} ${quoteText(expected[field])}, or correct agent.json`,
    ];
  }
  return null;
}

function describeMissing(lock: Lock, root: Root, { counted, rejected, missing }: Count): Words {
  const { principals, threshold } = root.roles.policy;
  const others = principals.filter((name) => !counted.includes(name));
  const by = counted.length === 0 ? "nobody" : counted.join(", ");
  const why = rejected.map(({ file, why: reason }) => `; ${quoteText(file)} does not count: ${reason}`).join("");
  return [
    `serial ${lock.serial} is approved by ${by}; ${missing} of ${threshold} approvals are missing${why}`,
    `let ${missing} of ${others.join(", ")} run \`clawgress sign\` and commit the approval`,
  ];
}

interface Order {
  readonly root: Root;
  readonly lock: Lock;
  readonly lockDigest: string;
  readonly verified: VerifiedPointer;
}

function refuseOrder({
  root,
  lock,
  lockDigest,
  verified,
}: Order): Pick<TrustRefusal, "code" | "message" | "remedy"> | null {
  if (root.root < verified.root) {
    return {
      code: "TRUST_ROLLBACK",
      message: `root ${root.root} is older than root ${verified.root}, by which this gateway verified before`,
      remedy: `install root ${verified.root} or a newer one on the gateway`,
    };
  }
  if (lock.serial < verified.serial) {
    return {
      code: "TRUST_ROLLBACK",
      message: `serial ${lock.serial} is older than serial ${verified.serial}, which this gateway verified before`,
      remedy: "to go back to an older text, let it be signed again: `clawgress sign` gives it a new serial",
    };
  }
  if (lock.serial === verified.serial && lockDigest !== verified.lockDigest) {
    return {
      code: "TRUST_EQUIVOCATION",
      message: `serial ${lock.serial} was verified before with other content (lock ${verified.lockDigest?.slice(0, 16)}, now ${lockDigest.slice(0, 16)})`,
      remedy: "find out who signed two locks with one serial; then sign the right content with a higher serial",
    };
  }
  return null;
}

function refuseFiles(lock: Lock, files: ReadonlyMap<string, string | null>): Words | null {
  const signAgain = "run `clawgress sign` on the branch and let the others approve again";
  const unlisted = [...files.keys()].sort(compareTexts).find((path) => !Object.hasOwn(lock.files, path));
  if (unlisted !== undefined) return [`${quoteText(unlisted)} is not listed in the lock`, signAgain];
  for (const path of Object.keys(lock.files).sort(compareTexts)) {
    const digest = files.get(path) ?? null;
    if (digest === null) return [`${quoteText(path)} is listed in the lock but missing`, signAgain];
    if (digest !== lock.files[path]) return [`${quoteText(path)} is not the file that was approved`, signAgain];
  }
  return null;
}
