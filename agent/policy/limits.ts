import type { Client } from "./decide.ts";
import type { LimitsDocument } from "./document.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import type { Limits, Policy } from "./policy.ts";

/** Returns the limits that stand at a pointer, null where none are set; an empty object is warned of. */
export function readLimits(limits: LimitsDocument | undefined, pointer: string, log: IssueLog): Limits | null {
  if (limits === undefined) return null;
  const egressKbps = limits.egress_kbps;
  if (egressKbps === undefined) {
    log.warn(log.locate(pointer, "key"), "these limits set none", "write egress_kbps, or remove them");
    return null;
  }
  return { egressKbps, place: log.locate(joinPointer(pointer, "egress_kbps"), "key") };
}

/** Returns what a client may use: the limits of its host entry, which may be none, or those for clients in no entry. */
export function limitsOf(policy: Policy, { host }: Client): Limits | null {
  return host === null ? policy.limits : host.limits;
}
