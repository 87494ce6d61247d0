import type { Code } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { type Count, countPolicyApprovals, type Judge, type RejectedApproval } from "./approvals.ts";
import { digestOf, type Lock, lockPath } from "./lock.ts";
import { parseLock } from "./parse-lock.ts";
import { fitsAny } from "./patterns.ts";
import { type Floor, floorOf, type VerifiedPointer } from "./pointers.ts";
import { fullRequirement, POLICY_RULE, type Requirement } from "./requirements.ts";
import type { Root, Rule } from "./root.ts";

export type TrustCode = Extract<Code, `TRUST_${string}`>;

/** The lock must be for exactly this place, or an approval could be carried elsewhere. */
export interface Target {
  readonly repository: string;
  readonly branch: string;
  readonly group: string;
}

export interface LockInput extends Judge {
  readonly root: Root;
  /** The rule of the root whose lock it is; null: the common one. */
  readonly part: Rule | null;
  /** The bytes of the lock in the commit; null when there is none. */
  readonly lockBytes: Buffer | null;
  readonly expected: Target;
  /** principal → bytes of its approval, as far as there is one. @see approvalPaths */
  readonly signatures: ReadonlyMap<string, Buffer>;
}

/** A lock that is for this gateway, and whose approvals of it hold; whether they are enough is not said yet. */
export interface OpenedLock {
  readonly ok: true;
  readonly part: Rule | null;
  readonly lock: Lock;
  readonly bytes: Buffer;
  /** SHA-256 of the lock's bytes, in hex. */
  readonly lockDigest: string;
  readonly count: Count;
}

export interface JudgeInput {
  readonly root: Root;
  /** Who has to approve it: each of these must be met. */
  readonly requirements: readonly Requirement[];
  /** What this gateway has verified so far. */
  readonly verified: VerifiedPointer;
  /** path → SHA-256 in hex of every file of the lock that will be read; null for one that is missing. */
  readonly files: ReadonlyMap<string, string | null>;
  /** True accepts a lock without approvals. Target, serial and digests are checked all the same. */
  readonly insecure: boolean;
}

/** All that there is to judge the common lock by. */
export interface ManifestInput extends Omit<LockInput, "part">, Omit<JudgeInput, "requirements"> {
  /** Missing: what the role `policy` asks for. */
  readonly requirements?: readonly Requirement[];
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
 */
export function verifyManifest(input: ManifestInput): ManifestResult {
  const opened = openLock({ ...input, part: null });
  if (!opened.ok) return opened;
  return judgeLock(opened, { ...input, requirements: input.requirements ?? [fullRequirement(input.root)] });
}

/** Returns the lock and who approved it when it is well-formed and for this gateway, else why it is not. */
export function openLock(input: LockInput): OpenedLock | TrustRefusal {
  const { root, part, lockBytes: bytes, expected } = input;
  if (root.repository !== expected.repository) return refuse("TRUST_ROOT_INVALID", ...wrongRoot(root, expected));
  const path = lockPath(part?.name ?? null);
  if (bytes === null) {
    return refuse("TRUST_LOCK_INVALID", `the commit has no ${path}`, "run `clawgress sign` and commit what it writes");
  }
  const parsed = parseLock(bytes, path);
  if (!parsed.ok) return refuse("TRUST_LOCK_INVALID", ...describeIssues(parsed.issues));
  const { lock } = parsed;
  const target = refuseTarget(lock, expected) ?? refusePart(root, part, lock);
  if (target !== null) return refuse("TRUST_WRONG_TARGET", ...target);
  const count = countPolicyApprovals(root, bytes, input.signatures, input);
  return { ok: true, part, lock, bytes, lockDigest: digestOf(bytes), count };
}

/**
 * Returns the lock when enough people approved it, it is not older than what was verified before, and every file is what
 * it lists; else the first of these that fails.
 *
 * The order matters: until the approvals hold, the lock is anybody's text, and an unsigned one must not be able to
 * raise the alarm of an equivocation.
 */
export function judgeLock(opened: OpenedLock, input: JudgeInput): ManifestResult {
  const { root, requirements, verified, insecure } = input;
  const { part, lock, lockDigest, count } = opened;
  const { counted, rejected } = count;
  const refuseAfter = (code: TrustCode, message: string, remedy: string, missing = 0): TrustRefusal => ({
    ...{ ok: false, code, message, remedy, counted, rejected, missing },
  });
  const unmet = insecure ? undefined : requirements.find((requirement) => missingOf(requirement, counted) > 0);
  if (unmet !== undefined) {
    return refuseAfter("TRUST_UNSIGNED", ...describeMissing(lock, unmet, count), missingOf(unmet, counted));
  }
  const floor = floorOf(verified, part?.name ?? null, root.serials);
  const order = refuseOrder({ root, lock, lockDigest, verified, floor });
  if (order !== null) return refuseAfter(order.code, order.message, order.remedy);
  const mismatch = refuseFiles(lock, input.files);
  if (mismatch !== null) return refuseAfter("TRUST_LOCK_MISMATCH", ...mismatch);
  const involved = new Set(requirements.flatMap(({ principals }) => principals));
  return { ok: true, lock, lockDigest, approvedBy: insecure ? [] : counted.filter((name) => involved.has(name)) };
}

/** Returns how many more of its people a requirement needs; 0 when it is met. */
export function missingOf({ principals, threshold }: Requirement, counted: readonly string[]): number {
  return Math.max(0, threshold - principals.filter((name) => counted.includes(name)).length);
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

/** A lock of one team must not be taken for another's, and no lock lists files of a rule that has its own. */
function refusePart(root: Root, part: Rule | null, lock: Lock): Words | null {
  const expected = part?.name;
  if (lock.part !== expected) {
    const said = lock.part === undefined ? "is the common one" : `is for the part ${quoteText(lock.part)}`;
    const remedy = "run `clawgress sign`; a lock is signed for its own place";
    return [`${lockPath(expected ?? null)} ${said}`, remedy];
  }
  for (const path of Object.keys(lock.files).sort(compareTexts)) {
    const owner = ownerOf(root, path);
    if (owner === part) continue;
    const whose =
      owner === null ? "the common lock" : `${lockPath(owner.name)}, the lock of rule ${quoteText(owner.name)}`;
    return [
      `${lockPath(expected ?? null)} lists ${quoteText(path)}, which belongs to ${whose}`,
      "run `clawgress sign`",
    ];
  }
  return null;
}

/** Returns the rule with a lock of its own that a file belongs to; null when it belongs to the common lock. */
export function ownerOf({ rules }: Root, path: string): Rule | null {
  return rules.find(({ lock, files }) => lock && files !== null && fitsAny(files, path)) ?? null;
}

function describeMissing(lock: Lock, requirement: Requirement, { counted, rejected }: Count): Words {
  const { rule, tightens, principals, threshold } = requirement;
  const missing = missingOf(requirement, counted);
  const others = principals.filter((name) => !counted.includes(name));
  const by = counted.length === 0 ? "nobody" : counted.join(", ");
  const why = rejected.map(({ file, why: reason }) => `; ${quoteText(file)} does not count: ${reason}`).join("");
  const asked = rule === POLICY_RULE ? "" : ` of rule ${quoteText(rule)}`;
  const part = lock.part === undefined ? "" : ` of ${quoteText(lock.part)}`;
  return [
    `serial ${lock.serial}${part} is approved by ${by}; ${missing} of ${threshold} approvals${asked} are missing${tightens ? " to tighten" : ""}${why}`,
    `let ${missing} of ${others.join(", ")} run \`clawgress sign\` and commit the approval`,
  ];
}

interface Order {
  readonly root: Root;
  readonly lock: Lock;
  readonly lockDigest: string;
  readonly verified: VerifiedPointer;
  readonly floor: Floor;
}

function refuseOrder({
  root,
  lock,
  lockDigest,
  verified,
  floor,
}: Order): Pick<TrustRefusal, "code" | "message" | "remedy"> | null {
  if (root.root < verified.root) {
    return {
      code: "TRUST_ROLLBACK",
      message: `root ${root.root} is older than root ${verified.root}, by which this gateway verified before`,
      remedy: `install root ${verified.root} or a newer one on the gateway`,
    };
  }
  if (root.serials !== null && lock.serial >= root.serials.void) {
    return {
      code: "TRUST_ROLLBACK",
      message: `serial ${lock.serial} is void: root ${root.root} lets none from ${root.serials.void} on count`,
      remedy: `sign again: \`clawgress sign\` goes on from serial ${root.serials.restart}`,
    };
  }
  if (lock.serial < floor.serial || (lock.serial === floor.serial && floor.lockDigest === null)) {
    return {
      code: "TRUST_ROLLBACK",
      message: `serial ${lock.serial} is older than serial ${floor.serial}, which this gateway verified before`,
      remedy: "to go back to an older text, let it be signed again: `clawgress sign` gives it a new serial",
    };
  }
  if (lock.serial === floor.serial && lockDigest !== floor.lockDigest) {
    return {
      code: "TRUST_EQUIVOCATION",
      message: `serial ${lock.serial} was verified before with other content (lock ${floor.lockDigest?.slice(0, 16)}, now ${lockDigest.slice(0, 16)})`,
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
