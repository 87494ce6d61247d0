import { hash } from "node:crypto";

/**
 * The numbers that the kernel sees. All are derived from names by hash, so that the same policy gives the same bytes
 * on every gateway and a change of one entry never renumbers another: running flows keep their grants.
 */

/** meta mark that the policy table stamps and the base table accepts ("claw"). */
export const VERDICT = 0x63_6c_61_77;

/** meta mark of a new connection that the policy table wants redirected to the proxy ("clpx"). */
export const INTERCEPT = 0x63_6c_70_78;

/** meta mark of what the policy table lets the proxy send to a private network: the `answers` of a name ("clan"). */
export const ANSWER = 0x63_6c_61_6e;

/** meta mark of a packet that a byte cap has no room for, so that its record says so ("clqu"). */
export const OVER_CAP = 0x63_6c_71_75;

/** Port classes: 1–0xffff. A class is one atom: ports that no entry of the policy tells apart. */
export const CLASS_MIN = 1;
export const CLASS_MAX = 0xffff;
/** Grants of names, written by the gate when the name is asked: 0x0001_0000–0x3fff_ffff. */
export const NAME_GRANT_MIN = 0x0001_0000;
export const NAME_GRANT_MAX = 0x3fff_ffff;
/** Grants of networks, written by the apply: 0x4000_0000–0x7fff_ffff. */
export const NETWORK_GRANT_MIN = 0x4000_0000;
export const NETWORK_GRANT_MAX = 0x7fff_ffff;
/** Grant of what only an audit lets pass, written by the apply; above every grant of another kind. */
export const AUDIT_GRANT = 0xffff_ffff;
/** Groups: 1–0x3fff_ffff. */
export const GROUP_MIN = 1;
export const GROUP_MAX = 0x3fff_ffff;
/** Budgets: 0x4000_0000–0x7fff_ffff, above every rate in kilobits per second, which marks clients in no host entry. */
export const BUDGET_MIN = 0x4000_0000;
export const BUDGET_MAX = 0x7fff_ffff;
/** Schedules, above every mark of another kind: 0x8000_0001–0xffff_fffe. */
export const SCHEDULE_MIN = 0x8000_0001;
export const SCHEDULE_MAX = 0xffff_fffe;
/** Stands for the budget of a host that has none. */
export const UNLIMITED = 0x8000_0000;

/** Byte caps: the numbers of the loopback addresses 127.1.0.0–127.255.255.254, above those of all groups. */
export const CAP_MIN = 0x7f_01_00_00;
export const CAP_MAX = 0x7f_ff_ff_fe;

/**
 * Returns a number in [min, max] for a text by SHA-256; when it is taken, the next free one (wrapping).
 * Callers go through their texts in sorted order, so that a collision is resolved alike everywhere.
 */
export function assignMark(text: string, min: number, max: number, isTaken: (mark: number) => boolean): number {
  const span = max - min + 1;
  const start = Number.parseInt(hash("sha256", text, "hex").slice(0, 8), 16) % span;
  for (let step = 0; step < span; step++) {
    const mark = min + ((start + step) % span);
    if (!isTaken(mark)) return mark;
  }
  throw new RangeError(`no free mark between ${min} and ${max}`);
}

/** Returns whether a grant is owned by the apply, never by the gate: one of a network, or that of an audit. */
export function isAppliedGrant(grant: number): boolean {
  return (grant >= NETWORK_GRANT_MIN && grant <= NETWORK_GRANT_MAX) || grant === AUDIT_GRANT;
}
