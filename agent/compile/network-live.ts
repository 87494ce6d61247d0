import type { Policy } from "../policy/policy.ts";
import { groupMarks, networkGrants, networkGrantText } from "./grants.ts";
import type { LivePair } from "./live-delta.ts";
import { timedGrants } from "./policy-hours.ts";

/** Returns the grants of networks that a policy has always in force, each with its group; sorted, without repetition. */
export function networkLive(policy: Policy): readonly LivePair[] {
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
  return [...pairs.values()].sort((a, b) => a.group - b.group || a.grant - b.grant);
}
