import type { Policy } from "../policy/policy.ts";
import { auditedGroups } from "./audited-groups.ts";
import { groupMarks, networkGrants, networkGrantText } from "./grants.ts";
import type { LivePair } from "./live-delta.ts";
import { AUDIT_GRANT } from "./marks.ts";
import { timedGrants } from "./policy-hours.ts";

/**
 * Returns the grants that a policy has always in force and that no name gives: those of networks, and those of audits, each
 * with its group; sorted, without repetition.
 */
export function appliedLive(policy: Policy): readonly LivePair[] {
  if (policy.mode === "deny-all") return [];
  const groups = groupMarks(policy);
  const grants = networkGrants(policy);
  const pairs = new Map<string, LivePair>();
  for (const group of policy.groups) {
    const groupMark = groups.get(group.name);
    for (const { network, ports } of group.networks) {
      for (const range of ports) {
        const grant = grants.get(networkGrantText(network, range));
        if (groupMark === undefined || grant === undefined) continue;
        pairs.set(`${groupMark} ${grant}`, { group: groupMark, grant });
      }
    }
  }
  for (const { group, grant } of timedGrants(policy)) pairs.delete(`${group} ${grant}`);
  const audits = auditedGroups(policy).map((group) => ({ group, grant: AUDIT_GRANT }));
  return [...pairs.values(), ...audits].sort((a, b) => a.group - b.group || a.grant - b.grant);
}
