import type { CheckedRelease } from "./apply/check-artifacts.ts";
import type { RevertTimer } from "./apply/revert-timer-client.ts";
import type { Release } from "./compile/release.ts";
import type { AgentError } from "./errors.ts";
import type { ProbeResult } from "./health/probe.ts";
import type { ReadyProbes } from "./health/run-probes.ts";
import type { Policy } from "./policy/policy.ts";
import type { Outcome } from "./report/describe.ts";
import type { CommitId, CommitReader } from "./source/source.ts";
import type { Evidence } from "./trust/evidence.ts";
import type { Lock } from "./trust/lock.ts";
import type { RootInForce } from "./trust/root-chain.ts";

/** What the steps of one cycle have found out so far. */
export interface Cycle {
  readonly signal: AbortSignal;
  readonly commit: CommitId | null;
  readonly reader?: CommitReader;
  /** The root by which the commit is judged. */
  readonly root?: RootInForce;
  /** When this gateway first saw the commit, in milliseconds since the epoch, by a clock that never goes back. */
  readonly seenAtMs?: number;
  /** Fingerprints that this gateway lets count nowhere, besides those that the root revokes. */
  readonly revoked?: ReadonlySet<string>;
  readonly approval?: Approval;
  readonly policy?: Policy;
  readonly release?: Release;
  /** Digest of the release of the whole policy, when `release` is a narrower one. */
  readonly whole?: string;
  readonly next?: CheckedRelease;
  readonly previous?: CheckedRelease;
  readonly before?: readonly ProbeResult[];
  readonly timer?: RevertTimer;
  readonly probes?: ReadyProbes;
}

/** What trust makes of a commit. */
export interface Approval {
  /** Of the lock; with trust.mode `commit` the one that was verified last, 0 when there was none. */
  readonly serial: number;
  readonly lockDigest: string | null;
  /** Of all locks, the common one first. */
  readonly lockDigests: readonly string[];
  readonly approvedBy: readonly string[];
  /** path → bytes of every file that the locks list, each checked against them. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** The common lock, and after it those of rules that have their own. */
  readonly locks: readonly ApprovedLock[];
}

export interface ApprovedLock {
  readonly lock: Lock;
  readonly evidence: Evidence;
  readonly approvedBy: readonly string[];
}

/**
 * How a cycle ended. `failed` is tried again at the next poll, `waiting` when an operator, the hours or the end of a fight let it; the others wait for another commit. After `rollback-failed`
 * only the lifeline is open, and every cycle tries to put the old release back.
 */
export type CycleOutcome =
  | { readonly kind: "unchanged"; readonly commit: CommitId }
  | {
      readonly kind: "confirmed";
      readonly commit: CommitId;
      readonly serial: number;
      readonly approvedBy: readonly string[];
      /** False when the commit compiles to what was enforced already. */
      readonly changed: boolean;
      readonly report: Outcome;
    }
  | {
      readonly kind: "refused" | "rolled-back" | "rollback-failed" | "failed" | "waiting";
      readonly commit: CommitId | null;
      readonly error: AgentError;
    };

/** What a step gives: more of the cycle, or its end. */
export type StepResult = Partial<Cycle> | { readonly done: CycleOutcome };

/** Returns what an earlier step must have found out. */
export function need<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`a step came before the one that finds out the ${what}`);
  return value;
}
