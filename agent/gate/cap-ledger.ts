import type { MarkedCap } from "../compile/release.ts";
import { periodEndMs, periodStartMs } from "../policy/cap-period.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { CapPeriod } from "../policy/policy.ts";

/*
 * What hosts have sent under their byte caps, as far as the gate knows. The kernel counts and refuses by itself; here is
 * remembered which period its count belongs to. No I/O: `planCaps` says what the kernel must be told.
 */

/** What a host has sent to a pattern in a period that began at a moment. */
export interface Usage {
  readonly group: string;
  /** As a policy writes it. */
  readonly pattern: string;
  readonly period: CapPeriod;
  /** Milliseconds since 1970. It never goes back, whatever the clock does. */
  readonly startMs: number;
  /** Bytes, as of the last look at the kernel. */
  readonly used: number;
}

/** A usage that a cap of the policy counts, under the mark that its kernel object is called by. */
export interface Meter extends Usage {
  readonly mark: number;
  readonly bytes: number;
  readonly isSpent: boolean;
}

/** Of a cap: what it lets through, and what has gone through (the kernel says no more than the former). */
export interface KernelQuota {
  readonly bytes: number;
  readonly used: number;
}

export interface KernelCaps {
  readonly quotas: ReadonlyMap<number, KernelQuota>;
  /** Marks that the map of counters and the set of what is used up hold. */
  readonly linked: ReadonlySet<number>;
  readonly spent: ReadonlySet<number>;
}

/** One thing that the kernel must be told of a cap, in the order of a transaction. */
export type CapChange =
  | { readonly kind: "unlink" | "remove" | "link" | "spend" | "reopen"; readonly mark: number }
  | { readonly kind: "create"; readonly mark: number; readonly bytes: number; readonly used: number }
  | { readonly kind: "resize"; readonly mark: number; readonly bytes: number };

export interface CapPlan {
  readonly changes: readonly CapChange[];
  readonly meters: ReadonlyMap<string, Meter>;
  /** Of caps that the policy does not have (any more), while their period lasts: it may get them back. */
  readonly retired: ReadonlyMap<string, Usage>;
}

/** Returns what tells one usage from another: a cap with other bytes goes on with the same. */
export function usageKey({ group, pattern, period }: Pick<Usage, "group" | "pattern" | "period">): string {
  return `${group} ${pattern} ${period}`;
}

/** What is known from before: a usage of this run or of a file, with the mark that it had in the kernel. */
export type KnownUsage = Usage & { readonly mark?: number };

/** A period that began no longer ago than this has nothing in a counter yet. */
const FRESH_MS = 250;

/**
 * Returns what the kernel must be told so that it counts for the caps of a policy at a moment, and what is known then.
 * Nothing that was counted gets lost: a counter goes on under other bytes, and one of an earlier period gives way to an empty one.
 * A counter that the gate could not look after when its period ended is taken to have counted for the new one since the
 * gate knew it last.
 */
export function planCaps(
  caps: readonly MarkedCap[],
  known: ReadonlyMap<string, KnownUsage>,
  kernel: KernelCaps,
  nowMs: number,
): CapPlan {
  const meters = new Map<string, Meter>();
  const wanted = new Map(caps.map((cap) => [cap.mark, cap]));
  const owners = new Map([...known].map(([key, { mark }]) => [mark, key]));
  const changes: CapChange[] = [];
  for (const cap of caps) {
    const identity = { group: cap.group, pattern: patternText(cap.pattern), period: cap.period };
    const key = usageKey(identity);
    const before = known.get(key);
    // A mark moves only when another cap with the same hash came or went.
    const isForeign = (owners.get(cap.mark) ?? key) !== key;
    const countedBy = before?.mark ?? (isForeign ? undefined : cap.mark);
    const counted = countedBy === undefined ? undefined : kernel.quotas.get(countedBy);
    const { startMs, used } = settle(identity, before, counted, nowMs);
    const meter: Meter = { ...identity, startMs, used, mark: cap.mark, bytes: cap.bytes, isSpent: used >= cap.bytes };
    meters.set(key, meter);
    const isForeignNow = isForeign || countedBy !== cap.mark;
    changes.push(...changesOf(meter, isForeignNow || (before !== undefined && before.startMs !== startMs), kernel));
  }
  for (const mark of new Set([...kernel.quotas.keys(), ...kernel.linked, ...kernel.spent])) {
    if (!wanted.has(mark)) changes.push(...removal(mark, kernel));
  }
  return { changes, meters, retired: retire(known, meters, kernel, nowMs) };
}

function settle(
  { period }: Pick<Usage, "period">,
  before: Usage | undefined,
  counted: KernelQuota | undefined,
  nowMs: number,
): Pick<Usage, "startMs" | "used"> {
  const current = periodStartMs(period, nowMs);
  const inKernel = counted?.used ?? 0;
  if (before === undefined) return { startMs: current, used: inKernel };
  if (current <= before.startMs) return { startMs: before.startMs, used: Math.max(before.used, inKernel) };
  if (nowMs - current <= FRESH_MS) return { startMs: current, used: 0 };
  // Less than before: the counter was made anew since, for the new period.
  return { startMs: current, used: inKernel < before.used ? inKernel : inKernel - before.used };
}

/** `isOther`: what the counter has counted, if there is one, was for another period or another cap. */
function changesOf(meter: Meter, isOther: boolean, kernel: KernelCaps): readonly CapChange[] {
  const { mark, bytes, used, isSpent } = meter;
  const quota = kernel.quotas.get(mark);
  const isResized = quota !== undefined && quota.bytes !== bytes;
  // What a counter that is used up has refused is in it too.
  const wasFull = quota !== undefined && quota.used >= quota.bytes;
  const changes: CapChange[] = [];
  if (quota === undefined || (isOther && quota.used !== used) || (isResized && wasFull)) {
    if (kernel.linked.has(mark)) changes.push({ kind: "unlink", mark });
    if (quota !== undefined) changes.push({ kind: "remove", mark });
    changes.push({ kind: "create", mark, bytes, used: Math.min(used, bytes) }, { kind: "link", mark });
  } else {
    if (isResized) changes.push({ kind: "resize", mark, bytes });
    if (!kernel.linked.has(mark)) changes.push({ kind: "link", mark });
  }
  if (isSpent && !kernel.spent.has(mark)) changes.push({ kind: "spend", mark });
  if (!isSpent && kernel.spent.has(mark)) changes.push({ kind: "reopen", mark });
  return changes;
}

function removal(mark: number, kernel: KernelCaps): readonly CapChange[] {
  return [
    ...(kernel.linked.has(mark) ? [{ kind: "unlink", mark } as const] : []),
    ...(kernel.quotas.has(mark) ? [{ kind: "remove", mark } as const] : []),
    ...(kernel.spent.has(mark) ? [{ kind: "reopen", mark } as const] : []),
  ];
}

function retire(
  known: ReadonlyMap<string, KnownUsage>,
  meters: ReadonlyMap<string, Meter>,
  kernel: KernelCaps,
  nowMs: number,
): ReadonlyMap<string, Usage> {
  const retired = new Map<string, Usage>();
  for (const [key, { group, pattern, period, startMs, used, mark }] of known) {
    if (meters.has(key) || periodEndMs(period, startMs) <= nowMs) continue;
    const inKernel = mark === undefined ? 0 : (kernel.quotas.get(mark)?.used ?? 0);
    retired.set(key, { group, pattern, period, startMs, used: Math.max(used, inKernel) });
  }
  return retired;
}
