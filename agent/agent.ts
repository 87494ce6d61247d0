import type { Logger } from "pino";
import type { ApplyContext } from "./apply/context.ts";
import type { FightWatch } from "./apply/fight.ts";
import type { CompileMemory } from "./compile/memory.ts";
import type { CycleOutcome } from "./cycle.ts";
import type { PassedClock } from "./host/clock-store.ts";
import type { PolicyMemory } from "./policy/policy-memory.ts";
import type { Activity } from "./report/agent-memory.ts";
import type { Reporter } from "./report/reporter.ts";
import type { Paths } from "./settings/paths.ts";
import type { Settings } from "./settings/settings.ts";
import type { CommitId, Source } from "./source/source.ts";
import type { TrustVerdict } from "./steps/guard-trust.ts";
import type { RootInForce } from "./trust/root-chain.ts";

/** One running agent: what it was told, what it works with, and the little that it remembers between cycles. */
export interface Agent {
  readonly settings: Settings;
  readonly paths: Paths;
  /** The root of trust that this gateway was installed with. */
  readonly installed: RootInForce;
  readonly source: Source;
  readonly apply: ApplyContext;
  /** Null when no forge is configured. */
  readonly reporter: Reporter | null;
  readonly log: Logger;
  readonly memory: Memory;
  /** The time by which keys and freshness are judged, in milliseconds since the epoch: it never goes back. */
  readonly judgedMs: () => number;
  readonly clock: PassedClock;
  /** Returns the fingerprints that this gateway lets count nowhere. @throws AgentError HOST_FILE, SETTINGS_INVALID */
  readonly readRevoked: () => Promise<ReadonlySet<string>>;
}

/** Lost at a restart without harm: everything that must last is in the pointers, the releases and the outbox. */
export interface Memory {
  /** The head that was confirmed, refused or rolled back: nothing is done until the branch moves. */
  settledCommit: CommitId | null;
  /** What the last look at freshness and revocations found; null before the first. */
  trust: TrustVerdict | null;
  /** Of the policy that was read last. */
  readonly read: PolicyMemory;
  /** Of the policy that was compiled last. */
  readonly compiled: CompileMemory;
  last: { readonly outcome: CycleOutcome; readonly atMs: number } | null;
  readonly activity: Activity;
  /** Restorations of what another program changed. */
  readonly fight: FightWatch;
  /** An operator has seen what `drift.response` left as it was: the next look puts it right. */
  mayHealOnce: boolean;
}
