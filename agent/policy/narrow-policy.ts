import type { Group, Policy } from "./policy.ts";

/** How far a policy is narrowed when trust in it has run out: not at all, to some labels, or to nothing. */
export type Narrowing = "keep" | "tighten" | "deny-all";

const widths: readonly Narrowing[] = ["keep", "tighten", "deny-all"];

/** Returns the narrowest of some. */
export function narrowest(all: readonly Narrowing[]): Narrowing {
  return widths.findLast((width) => all.includes(width)) ?? "keep";
}

/**
 * Returns a policy that lets nothing through that the given one does not: with `tighten` only what has one of the labels,
 * and no audit; with `deny-all` nothing.
 */
export function narrowPolicy(policy: Policy, narrowing: Narrowing, keepLabels: readonly string[]): Policy {
  if (narrowing === "keep") return policy;
  if (narrowing === "deny-all") return { ...policy, mode: "deny-all", groups: policy.groups.map(emptyGroup) };
  const isKept = ({ label }: { readonly label: string | null }): boolean =>
    label !== null && keepLabels.includes(label);
  const groups = policy.groups.map((group) => {
    const { mode, ...rest } = group;
    const rules = { names: group.names.filter(isKept), networks: group.networks.filter(isKept) };
    return { ...rest, ...rules, ...(mode === "deny-all" ? { mode } : {}) };
  });
  return { ...policy, mode: policy.mode === "audit" ? "enforce" : policy.mode, groups };
}

function emptyGroup({ mode: _mode, ...group }: Group): Group {
  return { ...group, names: [], networks: [] };
}
