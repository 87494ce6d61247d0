import type { CycleOutcome } from "../cycle.ts";
import type { Code } from "../errors.ts";
import type { AgentCounts } from "./gateway-status.ts";
import type { ProxyLine } from "./proxy-line.ts";

/** How a cycle ended, as it is told. */
export interface LastCycle {
  readonly outcome: CycleOutcome["kind"];
  readonly commit: string | null;
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly code: Code | null;
  readonly message: string | null;
  readonly remedy: string | null;
}

/** What the agent has seen and done; lost at a reboot without harm. */
export interface Activity {
  startedAtMs: number;
  /** The last poll that the server answered, the head it told, and when that became another one. */
  polledAtMs: number | null;
  head: string | null;
  changedAtMs: number | null;
  /** The last cycle that did not find everything as it was. */
  news: LastCycle | null;
  readonly cycles: Map<string, number>;
  readonly errors: Map<string, number>;
  readonly restarts: Map<string, number>;
  lastApplyMs: number | null;
  drift: {
    restored: number;
    lastAtMs: number | null;
    /** What somebody changed and is left as it is. */
    held: string | null;
  };
  /** Connections and requests through the proxy that were ended because what allowed them went. */
  proxyRevoked: number;
  /** TLS connections to the proxy whose hello had the extension of ECH, or something that looks like it. */
  echHellos: number;
}

/** Returns the activity of an agent that has just started; what was seen before may be put into it. */
export function createActivity(startedAtMs: number): Activity {
  return {
    ...{ startedAtMs, polledAtMs: null, head: null, changedAtMs: null, news: null, lastApplyMs: null },
    ...{ cycles: new Map(), errors: new Map(), restarts: new Map() },
    ...{ drift: { restored: 0, lastAtMs: null, held: null }, proxyRevoked: 0, echHellos: 0 },
  };
}

/** Remembers a poll that the server answered. */
export function notePoll(activity: Activity, head: string, atMs: number): void {
  activity.polledAtMs = atMs;
  if (activity.head !== head) activity.changedAtMs = atMs;
  activity.head = head;
}

/** Remembers how a cycle ended. */
export function noteCycle(activity: Activity, outcome: CycleOutcome, atMs: number, tookMs: number): void {
  increase(activity.cycles, outcome.kind);
  if ("error" in outcome) increase(activity.errors, outcome.error.code);
  if (outcome.kind === "confirmed" && outcome.changed) activity.lastApplyMs = tookMs;
  if (outcome.kind !== "unchanged") activity.news = describeCycle(outcome, atMs);
}

/** Remembers that a part was started again. */
export function noteRestart(activity: Activity, component: string): void {
  increase(activity.restarts, component);
}

/** Remembers that tables which somebody else had changed were put back. */
export function noteDrift(activity: Activity, atMs: number): void {
  activity.drift = { restored: activity.drift.restored + 1, lastAtMs: atMs, held: null };
}

/** Remembers what nothing else counts of a decision of the proxy. */
export function noteProxyLine(activity: Activity, { proxy }: Pick<ProxyLine, "proxy">): void {
  if (proxy.ech) activity.echHellos += 1;
  // HAProxy's letter for what was ended from outside; whoever ends a connection does it because of a policy.
  if (proxy.end?.startsWith("K")) activity.proxyRevoked += 1;
}

/** Returns how a cycle ended, as it is told. */
export function describeCycle(outcome: CycleOutcome, atMs: number): LastCycle {
  const error = "error" in outcome ? outcome.error : null;
  return {
    outcome: outcome.kind,
    commit: outcome.commit,
    at: new Date(atMs).toISOString(),
    code: error?.code ?? null,
    message: error?.message ?? null,
    remedy: error?.remedy ?? null,
  };
}

/** Returns the counts as they are told. */
export function describeCounts(activity: Activity): AgentCounts {
  const plain = (counts: ReadonlyMap<string, number>): { readonly [name: string]: number } =>
    Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    since: new Date(activity.startedAtMs).toISOString(),
    cycles: plain(activity.cycles),
    errors: plain(activity.errors),
    lastApplySeconds: activity.lastApplyMs === null ? null : activity.lastApplyMs / 1000,
    restarts: plain(activity.restarts),
  };
}

function increase(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
