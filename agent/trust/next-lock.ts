import { LOCK_PATH, type Lock } from "./lock.ts";
import type { Target } from "./verify-approval.ts";

export interface NextLockInput {
  /** The lock on the branch that the gateways follow; null when there is none yet. */
  readonly base: Lock | null;
  /** The lock in the working tree; null when there is none. */
  readonly current: Lock | null;
  readonly target: Target;
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
export function nextLock({ base, current, target, files, serial }: NextLockInput): NextLock {
  const says = (lock: Lock | null): lock is Lock =>
    lock !== null &&
    sameTarget(lock, target) &&
    sameFiles(lock.files, files) &&
    (serial ?? lock.serial) === lock.serial;
  const last = base?.serial ?? 0;
  if (says(current) && current.serial > last) return { ok: true, lock: current, kept: true };
  if (says(base)) return { ok: true, lock: base, kept: true };
  if (serial !== null && serial <= last) {
    return { ok: false, why: `serial ${serial} is not above ${last}, the serial of ${LOCK_PATH} on the branch` };
  }
  const next = serial ?? last + 1;
  if (!Number.isSafeInteger(next) || next < 1) return { ok: false, why: `${next} is no serial from 1 to 2^53 - 1` };
  return { ok: true, lock: { version: 1, ...target, serial: next, files }, kept: false };
}

function sameTarget(lock: Lock, { repository, branch, group }: Target): boolean {
  return lock.repository === repository && lock.branch === branch && lock.group === group;
}

function sameFiles(a: Lock["files"], b: Lock["files"]): boolean {
  const paths = Object.keys(a);
  return paths.length === Object.keys(b).length && paths.every((path) => Object.hasOwn(b, path) && a[path] === b[path]);
}
