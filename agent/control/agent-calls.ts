import type { CycleOutcome } from "../cycle.ts";
import type { TallySource } from "../decisions/segment-file.ts";
import type { Code, Json } from "../errors.ts";
import type { GrantText } from "../gate/control-client.ts";
import type { TallyBatch } from "../gate/tally.ts";
import type { HistogramCounts } from "../host/histogram.ts";
import type { GatewayStatus } from "../report/gateway-status.ts";

/** What the agent does and tells for the API's process and for people on the gateway, over its socket. */
export interface AgentCalls {
  status(): Promise<GatewayStatus>;
  /** Does a cycle now; calls that come meanwhile share the next one. */
  poll(): Promise<CycleSummary>;
  /** Judges a policy as a cycle would, and changes nothing. */
  check(text: string): Promise<Verdict>;
  /** Commits a policy to the gateway's own repository and does a cycle. @throws AgentError PROPOSAL_*, POLICY_* */
  propose(proposal: Proposal): Promise<ProposalResult>;
  /** Ends a broken glass now; false when there is none. */
  endBreakGlass(): Promise<{ readonly ended: boolean }>;
  policy(): Promise<EnforcedPolicy>;
  counters(): Promise<KernelCounters>;
  measures(): Promise<AgentMeasures>;
  /** Hands on what the gate's or the proxy's tally holds. @throws AgentError GATE_UNREACHABLE */
  tally(source: TallySource, ack: string | null): Promise<TallyBatch>;
}

/** How a cycle ended. */
export interface CycleSummary {
  readonly outcome: CycleOutcome["kind"];
  readonly commit: string | null;
  readonly serial: number | null;
  readonly error: Failure | null;
}

export interface Failure {
  readonly code: Code;
  readonly message: string;
  readonly remedy: string | null;
}

export interface Proposal {
  readonly text: string;
  /** Who asks: a user of this machine, or an API key. */
  readonly by: string;
  readonly reason: string;
  /** Set it in force though the policy comes from elsewhere, and take it back at the end. */
  readonly breakGlass: { readonly forS: number } | null;
}

export interface ProposalResult {
  readonly commit: string | null;
  readonly serial: number | null;
  /** True when it is in force, read back and healthy. */
  readonly applied: boolean;
  readonly outcome: CycleSummary["outcome"];
  /** What it opens (`+`), closes (`-`) and alters (`~`), a line each. */
  readonly changes: readonly string[];
  readonly error: Failure | null;
}

/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** Errors and warnings with file, line and column, or why it could not be looked at. */
  readonly details: readonly string[];
  readonly code: Code | null;
}

export interface Verdict {
  readonly ok: boolean;
  readonly checks: readonly Check[];
  readonly changes: readonly string[];
}

export interface EnforcedPolicy {
  readonly commit: string | null;
  readonly serial: number;
  readonly release: string | null;
  readonly approvedBy: readonly string[];
  /** ISO 8601, UTC. */
  readonly since: string | null;
  /** The normalised policy, as the gate and the rules have it. */
  readonly policy: Json;
}

/** Absolute counts of the kernel. */
export interface KernelCounters {
  /** Of the tables that count: another one means that all counts began anew. */
  readonly epoch: string;
  readonly traffic: readonly TrafficCounter[];
  /** Named counters of refused packets; null when they cannot be read. */
  readonly denied: { readonly [counter: string]: number } | null;
}

/** What is told of for metrics alone, as of the moment at which it is asked for. */
export interface AgentMeasures {
  /** Flows that are under way, by host: straight through the rules, or through the proxy. Null: nobody can tell. */
  readonly flows: { readonly [path in FlowPath]: readonly HostCount[] | null };
  /** Flows that were ended because what allowed them went; the kernel's since the tables stand, the proxy's since the agent's start. */
  readonly revoked: { readonly [path in FlowPath]: number | null };
  /** What was over `egress_kbps`; null when it cannot be read. */
  readonly shaped: readonly ShapedCounter[] | null;
  /** TLS connections to the proxy whose hello had the extension of ECH, since the agent's start. */
  readonly echHellos: number;
  /** How long the steps of applies took since the agent's start. */
  readonly steps: StepSeconds;
}

export type FlowPath = "straight" | "proxy";
export type StepSeconds = { readonly [step: string]: HistogramCounts };

export interface HostCount {
  /** Null for clients in no host entry. */
  readonly host: string | null;
  readonly count: number;
}

/** Absolute count of the kernel, forgotten after a day without a packet over the limit. */
export interface ShapedCounter {
  readonly client: string;
  readonly host: string | null;
  readonly packets: number;
  readonly bytes: number;
}

/** What a client sent and got by one grant. */
export interface TrafficCounter extends GrantText {
  readonly client: string;
  /** The number of the grant in the kernel; its text is all null when nobody knows it any more. */
  readonly grant: number;
  readonly connections: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}
