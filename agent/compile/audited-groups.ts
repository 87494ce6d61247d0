import type { Policy } from "../policy/policy.ts";
import { groupMarks } from "./grants.ts";

/** Returns the marks of the groups for which denials are recorded and let pass; none under `deny-all`. */
export function auditedGroups(policy: Policy): readonly number[] {
  if (policy.mode === "deny-all") return [];
  const marks = groupMarks(policy);
  return policy.groups
    .filter(({ mode }) => mode === "audit")
    .flatMap(({ name }) => marks.get(name) ?? [])
    .sort((a, b) => a - b);
}
