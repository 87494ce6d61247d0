import type { Family } from "../policy/cidr.ts";

/** What the chains depend on: the mark of the group `*` and the lengths of prefixes that the policy's networks have. */
export interface ChainParts {
  /** True stamps nothing at all: `deny-all` holds even if the gate is dead and its grants are still in `live`. */
  readonly denyAll: boolean;
  /** Whether any group is in SNI mode. */
  readonly isProxied: boolean;
  readonly globalGroup: number;
  readonly prefixLengths4: readonly number[];
  readonly prefixLengths6: readonly number[];
  /** True when a group is under audit: what the policy does not open to it is logged and opened all the same. */
  readonly hasAudit: boolean;
  /** Families in which `dns.forward` names resolvers. */
  readonly resolverFamilies: readonly Family[];
  /** Families in which names lead to private networks through the proxy. */
  readonly answerFamilies: readonly Family[];
  /** What is denied although it may be allowed; null costs no packet a lookup. */
  readonly denied: DeniedParts | null;
  /** Whether anything is open at times only; if not, it costs no packet anything. */
  readonly hasHours: boolean;
  /** What is denied until a time; null where nothing is. */
  readonly lapsing: LapsingParts | null;
}

/** The lengths of prefixes that everyone and single groups are denied until a time. */
export interface LapsingParts {
  readonly everyoneLengths4: readonly number[];
  readonly everyoneLengths6: readonly number[];
  readonly groupLengths4: readonly number[];
  readonly groupLengths6: readonly number[];
}

/** Whether addresses are denied for everyone, and the lengths of prefixes that single groups are denied. */
export interface DeniedParts {
  readonly everyone4: boolean;
  readonly everyone6: boolean;
  readonly groupLengths4: readonly number[];
  readonly groupLengths6: readonly number[];
}
