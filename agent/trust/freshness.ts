import { parseJsonText } from "../policy/json-text.ts";
import { type Count, countApprovals, type Judge } from "./approvals.ts";
import { formatTime, readFields } from "./fields.ts";
import { branchRule, nameRule } from "./names.ts";
import type { VerifiedPointer } from "./pointers.ts";
import type { Root } from "./root.ts";
import type { Target } from "./verify-approval.ts";

/** What the role `freshness` vouches for: that a serial is the newest, until a time. It can prolong, and nothing else. */
export interface Fresh extends Target {
  readonly serial: number;
  readonly validUntilMs: number;
}

export const FRESH_PATH = "clawgress.fresh.json";
/** What it is signed for: `ssh-keygen -Y sign -n clawgress-fresh@v1`. */
export const FRESH_NAMESPACE = "clawgress-fresh@v1";
export const MAX_FRESH_BYTES = 4096;

/** Returns the file of a principal's signature of the statement. */
export function freshApprovalPath(principal: string): string {
  return `approvals/fresh/${principal}.sig`;
}

/** Returns the one spelling of a statement. */
export function renderFresh({ repository, branch, group, serial, validUntilMs }: Fresh): Buffer {
  const content = { version: 1, repository, branch, group, serial, validUntil: formatTime(validUntilMs) };
  return Buffer.from(`${JSON.stringify(content, null, 2)}\n`);
}

/** Returns the statement in the bytes, or why there is none. */
export function parseFresh(
  bytes: Buffer,
): { readonly ok: true; readonly fresh: Fresh } | { readonly ok: false; readonly why: string } {
  const document = parseJsonText(bytes, { file: FRESH_PATH, maxBytes: MAX_FRESH_BYTES, maxDepth: 1 });
  if (!document.ok) return { ok: false, why: document.issues[0]?.message ?? "it is malformed" };
  const fields = readFields(document);
  const required = ["version", "repository", "branch", "group", "serial", "validUntil"];
  const object = fields.object(document.value, "", { required });
  const fresh = {
    version: fields.integer(object?.["version"], "/version", 1, 1),
    repository: fields.text(object?.["repository"], "/repository", nameRule) ?? "",
    branch: fields.text(object?.["branch"], "/branch", branchRule) ?? "",
    group: fields.text(object?.["group"], "/group", nameRule) ?? "",
    serial: fields.integer(object?.["serial"], "/serial", 1, Number.MAX_SAFE_INTEGER) ?? 0,
    validUntilMs: fields.time(object?.["validUntil"], "/validUntil") ?? 0,
  };
  const [issue] = fields.issues;
  return issue === undefined ? { ok: true, fresh } : { ok: false, why: issue.message };
}

export interface FreshInput extends Judge {
  readonly root: Root;
  readonly bytes: Buffer;
  readonly signatures: ReadonlyMap<string, Buffer>;
  readonly expected: Target;
  /** Serial of the common lock that was verified last. */
  readonly serial: number;
}

export type FreshVerdict =
  | { readonly ok: true; readonly validUntilMs: number }
  | {
      readonly ok: false;
      readonly why: string;
      /** True when the role vouches for a higher serial than the commit has: it is being withheld. */
      readonly withheld: boolean;
    };

/** Returns until when the role `freshness` vouches for a serial, or why its statement does not count. */
export function judgeFresh(input: FreshInput): FreshVerdict {
  const { root, bytes, expected, serial } = input;
  const refuse = (why: string, withheld = false): FreshVerdict => ({
    ok: false,
    why: `${FRESH_PATH}: ${why}`,
    withheld,
  });
  const role = root.roles.freshness;
  if (role === null) return refuse("the root of trust has no role `freshness`");
  const parsed = parseFresh(bytes);
  if (!parsed.ok) return refuse(parsed.why);
  const { fresh } = parsed;
  for (const field of ["repository", "branch", "group"] as const) {
    if (fresh[field] !== expected[field]) return refuse(`it is for the ${field} ${fresh[field]}`);
  }
  const { signatures, revoked, seenAtMs } = input;
  const count: Count = countApprovals({
    ...{ root, role, message: bytes, namespace: FRESH_NAMESPACE, signatures, revoked, seenAtMs },
    fileOf: freshApprovalPath,
  });
  if (count.missing > 0) {
    const why = count.rejected.map((one) => `; ${one.file} does not count: ${one.why}`).join("");
    return refuse(`${count.missing} of ${role.threshold} approvals of the role freshness are missing${why}`);
  }
  if (fresh.serial > serial) return refuse(`serial ${fresh.serial} exists, and this commit has ${serial}`, true);
  if (fresh.serial < serial) return refuse(`it is for serial ${fresh.serial}, this commit has ${serial}`);
  return { ok: true, validUntilMs: fresh.validUntilMs };
}

export type FreshState = "FRESH" | "STALE" | "EXPIRED" | "UNWATCHED";

export interface Freshness {
  readonly state: FreshState;
  /** When it stops or stopped to be fresh, in milliseconds since the epoch; null when nobody watches. */
  readonly untilMs: number | null;
}

export interface FreshnessInput {
  readonly verified: Pick<VerifiedPointer, "freshAt" | "freshUntil" | "serial">;
  /** Whether the root names somebody who vouches. */
  readonly hasRole: boolean;
  /** The longest time without a proof, whoever vouches for longer; null: no such bound. */
  readonly maxAgeMs: number | null;
  /** From STALE to EXPIRED. */
  readonly graceMs: number;
  readonly nowMs: number;
}

/**
 * Returns whether what was verified last can still be taken for the newest. Watched when the root has a role `freshness`
 * or agent.json a maximum age; whoever withholds updates is found out at the end of the shorter of both.
 */
export function assessFreshness({ verified, hasRole, maxAgeMs, graceMs, nowMs }: FreshnessInput): Freshness {
  if (verified.serial === 0 || (!hasRole && maxAgeMs === null)) return { state: "UNWATCHED", untilMs: null };
  const provedMs = Date.parse(verified.freshAt ?? "") || 0;
  const vouchedMs = Date.parse(verified.freshUntil ?? "") || provedMs;
  const byRole = hasRole ? vouchedMs : Number.POSITIVE_INFINITY;
  const byAge = maxAgeMs === null ? Number.POSITIVE_INFINITY : provedMs + maxAgeMs;
  const untilMs = Math.min(byRole, byAge);
  if (nowMs < untilMs) return { state: "FRESH", untilMs };
  return { state: nowMs < untilMs + graceMs ? "STALE" : "EXPIRED", untilMs };
}

/**
 * Returns the pointer after a commit was verified: a serial that is new proves that nothing was withheld up to now, and
 * so does a statement that reaches further than the last. The same statement again proves nothing.
 */
export function noteProof(
  verified: VerifiedPointer,
  before: VerifiedPointer,
  validUntilMs: number | null,
  seenAtMs: number,
): VerifiedPointer {
  const knownMs = Date.parse(verified.freshUntil ?? "") || 0;
  const prolongs = validUntilMs !== null && validUntilMs > knownMs;
  const isNews = verified.serial !== before.serial || verified.freshAt === null;
  return {
    ...verified,
    freshAt: prolongs || isNews ? formatTime(seenAtMs) : verified.freshAt,
    freshUntil: prolongs ? formatTime(validUntilMs) : verified.freshUntil,
  };
}
