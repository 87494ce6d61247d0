import type { HoldNote } from "../apply/hold-notes.ts";
import type { LifelineNote } from "../apply/lifeline-note.ts";
import type { GateStatus } from "../gate/control-client.ts";
import type { TrustVerdict } from "../steps/guard-trust.ts";
import type { ConfirmedPointer, VerifiedPointer } from "../trust/pointers.ts";
import type { LastCycle } from "./agent-memory.ts";

/** What a gateway says of itself: `policy-schema/status.schema.json`. Times are ISO 8601, UTC. */
export interface GatewayStatus {
  readonly version: 1;
  /** True when what was confirmed is in force. */
  readonly ok: boolean;
  readonly gateway: string;
  readonly state: "enforcing" | "not-serving" | LifelineNote["state"];
  /** True: unsigned policies run. */
  readonly insecure: boolean;
  readonly repository: { readonly url: string | null; readonly branch: string; readonly name: string };
  readonly confirmed: ConfirmedPointer & { readonly approvedBy: readonly string[] };
  readonly verified: VerifiedPointer;
  /** The newest head that is not what is enforced, and why; null when what is enforced is the newest. */
  readonly pending: LastCycle | null;
  readonly times: StatusTimes;
  /** What is wrong, a sentence each; empty when all is well. */
  readonly degraded: readonly string[];
  /** True without a poll that succeeded for longer than `poll.staleAfterMs`. */
  readonly stale: boolean;
  /** How often somebody else's change of our tables was undone since the agent's start. */
  /** `held` is what somebody changed and `drift.response` leaves as it is. */
  readonly drift: { readonly restored: number; readonly lastAt: string | null; readonly held: string | null };
  /** Groups to which nothing is denied; `*` for clients without own rules. */
  readonly audited: readonly string[];
  readonly breakGlass: BreakGlassState | null;
  /** Why only the lifeline is open. */
  readonly lifeline: LifelineNote | null;
  /** Who keeps what is enforced, whatever is merged. */
  readonly suspended: HoldNote | null;
  /** What stands against trusting what is enforced, as the agent found it after its last poll. */
  readonly trust: TrustVerdict | null;
  readonly agent: Daemon;
  readonly named: Daemon;
  readonly ulogd: Daemon;
  readonly proxy: Daemon & { readonly isNeeded: boolean };
  readonly api: Daemon;
  readonly tables: { readonly base: boolean; readonly policy: boolean };
  readonly gate: GateStatus | null;
  readonly last: LastCycle | null;
  /** What the agent has done since its start; null when it never ran. */
  readonly counts: AgentCounts | null;
  readonly notes: readonly string[];
}

export interface Daemon {
  readonly pid: number | null;
}

/** Null: never, as far as this gateway knows. */
export interface StatusTimes {
  /** The last poll that the server answered. */
  readonly lastPoll: string | null;
  /** The last poll that found another head than the one before. */
  readonly lastChange: string | null;
  readonly lastVerified: string | null;
  readonly lastApplied: string | null;
}

/** A policy that is in force though nobody approved it, until its end. */
export interface BreakGlassState {
  readonly by: string;
  readonly reason: string;
  readonly since: string;
  readonly until: string;
  readonly release: string;
}

export interface AgentCounts {
  readonly since: string;
  /** Outcome → cycles. */
  readonly cycles: { readonly [outcome: string]: number };
  /** Code → cycles that ended with it. */
  readonly errors: { readonly [code: string]: number };
  /** From a commit seen to it confirmed, of the last change. */
  readonly lastApplySeconds: number | null;
  /** Part → how often it was started again. */
  readonly restarts: { readonly [component: string]: number };
}
