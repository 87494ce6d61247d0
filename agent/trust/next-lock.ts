import { type Lock, lockPath } from "./lock.ts";
import type { Root } from "./root.ts";
import type { Target } from "./verify-approval.ts";

export interface NextLockInput {
  /** The lock on the branch that the gateways follow; null when there is none yet. */
  readonly base: Lock | null;
  /** The lock in the working tree; null when there is none. */
  readonly current: Lock | null;
  readonly target: Target;
  /** The rule whose lock it is; null: the common one. */
  readonly part: string | null;
  /** Serials that the root takes back: @see Root */
  readonly serials: Root["serials"];
  readonly files: Lock["files"];
  /** A serial of the caller's choice; null for the next one. */
  readonly serial: number | null;
}

export type NextLock =
  | {
      readonly ok: true;
      readonly lock: Lock;
      /** True when it is the lock that is there already, to be approved by one more person. */
      readonly kept: boolean;
    }
  | { readonly ok: false; readonly why: string };

/**
 * Returns the lock to approve: the one that is there when it already says exactly this, so that everybody signs the
 * same bytes, else a new one with the serial of the branch + 1.
 */
export function nextLock({ base, current, target, part, serials, files, serial }: NextLockInput): NextLock {
  const says = (lock: Lock | null): lock is Lock =>
    lock !== null &&
    sameTarget(lock, target) &&
    (lock.part ?? null) === part &&
    lock.serial < (serials?.void ?? Number.POSITIVE_INFINITY) &&
    sameFiles(lock.files, files) &&
    (serial ?? lock.serial) === lock.serial;
  const seen = base?.serial ?? 0;
  const last = serials !== null && seen >= serials.void ? serials.restart : seen;
  if (says(current) && current.serial > last) return { ok: true, lock: current, kept: true };
  if (says(base)) return { ok: true, lock: base, kept: true };
  if (serial !== null && serial <= last) {
    return { ok: false, why: `serial ${serial} is not above ${last}, the serial of ${lockPath(part)} on the branch` };
  }
  const next = serial ?? last + 1;
  if (!Number.isSafeInteger(next) || next < 1) return { ok: false, why: `${next} is no serial from 1 to 2^53 - 1` };
  const lock: Lock = { version: 1, ...target, ...(part === null ? {} : { part }), serial: next, files };
  return { ok: true, lock, kept: false };
}

function sameTarget(lock: Lock, { repository, branch, group }: Target): boolean {
  return lock.repository === repository && lock.branch === branch && lock.group === group;
}

function sameFiles(a: Lock["files"], b: Lock["files"]): boolean {
  const paths = Object.keys(a);
  return paths.length === Object.keys(b).length && paths.every((path) => Object.hasOwn(b, path) && a[path] === b[path]);
}
