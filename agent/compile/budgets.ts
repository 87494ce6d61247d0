import { type AddressRange, cidrRange } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Place, Policy } from "../policy/policy.ts";
import { type ClientRange, flattenNested } from "./client-groups.ts";
import { assignMark, BUDGET_MAX, BUDGET_MIN, UNLIMITED } from "./marks.ts";
import { markToken } from "./tokens.ts";

/** What one host may send a second, all its addresses of both families together. */
export interface Budget {
  readonly mark: number;
  readonly egressKbps: number;
  readonly place: Place;
}

/** Addresses that spend from a budget; those of a host without one have the mark `UNLIMITED`. */
export interface Spender extends AddressRange {
  readonly mark: number;
  readonly place: Place;
}

/**
 * Returns the budgets of all hosts that have a limit, by host name. A budget is the host *and* its rate: the same limit
 * keeps its mark, and with it what the kernel has counted; another limit is another budget.
 */
export function hostBudgets(policy: Policy): ReadonlyMap<string, Budget> {
  const budgets = new Map<string, Budget>();
  const taken = new Set<number>();
  const hosts = policy.hosts.toSorted((a, b) => compareTexts(a.name, b.name));
  for (const { name, limits } of hosts) {
    if (limits === null) continue;
    const { egressKbps, place } = limits;
    const mark = assignMark(`budget ${name} ${egressKbps}`, BUDGET_MIN, BUDGET_MAX, (other) => taken.has(other));
    taken.add(mark);
    budgets.set(name, { mark, egressKbps, place });
  }
  return budgets;
}

/**
 * Returns who spends from which budget: disjoint and sorted, the most specific source wins. Hosts without a limit are
 * in it only if there is a limit for those that are in no host entry, which these then are not.
 */
export function spenders(policy: Policy): readonly Spender[] {
  const budgets = hostBudgets(policy);
  if (budgets.size === 0 && policy.limits === null) return [];
  const ranges = policy.hosts.flatMap(({ name, sources, place }) =>
    sources.map((source): ClientRange => ({ ...cidrRange(source), group: name, place })),
  );
  return flattenNested(ranges).flatMap(({ family, first, last, group, place }) => {
    const mark = budgets.get(group)?.mark ?? (policy.limits === null ? null : UNLIMITED);
    return mark === null || place === null ? [] : [{ family, first, last, mark, place }];
  });
}

/**
 * Returns the nft commands that take budgets out of the kernel that a policy no longer has; empty when there are none.
 * The policy's own are added by its table: one that is there already goes on with what it has counted, so that an apply
 * gives nobody anything. Whatever else stands there goes too. The kernel's marks must be as they are at that moment.
 * @throws RangeError for what is no mark.
 */
export function removeBudgets(kernel: readonly number[], policy: Policy): string {
  const wanted = new Set([...hostBudgets(policy).values()].map(({ mark }) => mark));
  const gone = kernel.filter((mark) => !wanted.has(mark)).sort((a, b) => a - b);
  if (gone.length === 0) return "";
  return `delete element inet clawgress budgets {\n${gone.map(markToken).join(",\n")}\n}\n`;
}
