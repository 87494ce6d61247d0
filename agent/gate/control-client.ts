import { AgentError } from "../errors.ts";
import type { HistogramCounts } from "../host/histogram.ts";
import { callSocketJson } from "../host/socket-call.ts";
import type { DenyTotals } from "./deny-records.ts";
import type { CapUsage } from "./meters.ts";
import type { NamedHealth } from "./named-check.ts";
import type { TallyBatch } from "./tally.ts";

/** An address and the number of a grant. */
export type ClientGrant = readonly [client: string, grant: number];

/** What a grant opens to a client. */
export interface GrantText {
  readonly host: string | null;
  /** The name or the network that it is of. */
  readonly name: string | null;
  readonly network: string | null;
  /** `443/tcp` */
  readonly ports: string | null;
  readonly label: string | null;
  /** `policy.json:12` */
  readonly rule: string | null;
}

/** What a gate says of itself. */
export interface GateStatus {
  /** True when it answers allowed names: a release is loaded and named enforces it. */
  readonly ready: boolean;
  readonly pid: number;
  /** Of the release in force; null when there is none, and everything is denied. */
  readonly digest: string | null;
  readonly commit: string | null;
  readonly serial: number | null;
  readonly isHeld: boolean;
  /** Groups under audit (at most 20, `*` for the clients of no host): what the policy denies them is let pass. */
  readonly audited: readonly string[];
  /** Elements in the kernel's pin maps, pairs in `live`, and clients seen lately. */
  readonly pins: number;
  readonly grants: number;
  readonly clients: number;
  readonly residentBytes: number;
  /** Group → pins held for it; at most 10 s old. */
  readonly pinsByGroup: { readonly [group: string]: number };
  /** Grants without pins and flows that were collected because their bound came near. */
  readonly collectedGrants: number;
  /** `1d`, `7d`, `30d` → entries that will have expired by then. */
  readonly expiring: { readonly [within: string]: number };
  /** From questions to their answers, and the pauses in which they waited for an apply. */
  readonly latency: HistogramCounts;
  readonly holds: HistogramCounts;
  /** ISO 8601; all counts begin here. */
  readonly startedAt: string;
  readonly denials: DenyTotals;
  /** Verdict or reason → queries since the gate started. */
  readonly counters: { readonly [verdict: string]: number };
  readonly named: NamedHealth;
  /** The latest time that the gate has seen, in seconds since the epoch, and whether the wall clock is behind it: then hours are closed. */
  readonly clock: { readonly latestS: number; readonly isBehind: boolean };
}

/**
 * The gate as the apply sees it. Every call is bounded in time.
 * Each throws AgentError GATE_UNREACHABLE when nothing answers, GATE_REFUSED with the gate's reason when it says no.
 */
export interface GateControl {
  status(): Promise<GateStatus>;
  /** Byte caps in force and what has gone through them, sorted by host and pattern, as of the last second. */
  caps(): Promise<readonly CapUsage[]>;
  /** Those of them that are used up. */
  spentCaps(): Promise<readonly CapUsage[]>;
  /** Loads the release in a folder beside the one in force; returns its digest. */
  prepare(folder: string): Promise<string>;
  /** Makes clients wait, for at most `maxMs` (1–30,000); resolves when no kernel write of the gate is under way. */
  hold(maxMs: number): Promise<void>;
  /** Lets running flows of clients whose group changes with the prepared release find their grants when the kernel takes it. */
  anticipate(digest: string): Promise<void>;
  /** Puts the prepared release in force; the same one again changes nothing. */
  activate(digest: string): Promise<void>;
  resume(): Promise<void>;
  /** Returns what was decided since the batch that is acknowledged. */
  tally(ack: string | null): Promise<TallyBatch>;
  /** Returns what grants stand for, in the order of the pairs; null for one that is not known (any more). */
  describeGrants(pairs: readonly ClientGrant[]): Promise<readonly (GrantText | null)[]>;
  /** Takes every release out of force: everything is denied until one is activated, also after a restart. */
  withdraw(): Promise<void>;
  /** Ends the gate in order; what it pinned stays. */
  shutdown(): Promise<void>;
}

/** Loading a large release reads and indexes megabytes. */
const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Returns the gate behind a control socket. Nothing is connected until a call. */
export function createGateControl(socketPath: string): GateControl {
  const call = (
    method: "GET" | "POST",
    path: string,
    body?: { readonly [key: string]: unknown },
  ): Promise<{ readonly [key: string]: unknown }> => callGate(socketPath, method, path, body);
  return {
    status: async () => (await call("GET", "/status")) as unknown as GateStatus,
    caps: async () => (await call("GET", "/caps"))["caps"] as readonly CapUsage[],
    spentCaps: async () => (await call("GET", "/caps/spent"))["caps"] as readonly CapUsage[],
    prepare: async (folder) => String((await call("POST", "/prepare", { folder }))["digest"]),
    hold: async (maxMs) => {
      await call("POST", "/hold", { maxMs });
    },
    anticipate: async (digest) => {
      await call("POST", "/anticipate", { digest });
    },
    activate: async (digest) => {
      await call("POST", "/activate", { digest });
    },
    resume: async () => {
      await call("POST", "/resume");
    },
    withdraw: async () => {
      await call("POST", "/withdraw");
    },
    tally: async (ack) => (await call("POST", "/tally", { ack })) as unknown as TallyBatch,
    describeGrants: async (pairs) =>
      (await call("POST", "/grants", { pairs }))["grants"] as readonly (GrantText | null)[],
    shutdown: async () => {
      await call("POST", "/shutdown");
    },
  };
}

async function callGate(
  socketPath: string,
  method: "GET" | "POST",
  path: string,
  body: { readonly [key: string]: unknown } | undefined,
): Promise<{ readonly [key: string]: unknown }> {
  const answer = await callSocketJson(socketPath, {
    ...{ method, path, timeoutMs: TIMEOUT_MS, maxAnswerBytes: MAX_ANSWER_BYTES },
    ...(body === undefined ? {} : { body }),
    ...{ unreachable: "GATE_UNREACHABLE", whom: "the DNS gate" },
    remedy: "is the gate running? its log is beside the socket",
    readFailure: (bytes) => readRefusal(path, bytes),
  });
  return answer as { readonly [key: string]: unknown };
}

function readRefusal(path: string, answer: Buffer): AgentError | null {
  try {
    const { error } = JSON.parse(answer.toString("utf8")) as { readonly error?: unknown };
    return new AgentError("GATE_REFUSED", `the DNS gate refused ${path}: ${String(error)}`);
  } catch {
    return null;
  }
}
