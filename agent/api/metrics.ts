import { Registry } from "prom-client";
import type { AgentMeasures, KernelCounters } from "../control/agent-calls.ts";
import type { DecisionRow } from "../decisions/decision.ts";
import type { StoreState } from "../decisions/store.ts";
import type { GatewayStatus } from "../report/gateway-status.ts";
import { createHistogramView } from "./histogram-view.ts";
import { type Counts, createCounts, createGauges, type Gauges } from "./metric-table.ts";
import { createShapedGrowth } from "./shaped-growth.ts";

/** The metrics of a gateway. No label holds a name that somebody asked for: their values are bounded by the policy. */
export interface Metrics {
  /** Counts decisions as they are stored. */
  note(rows: readonly DecisionRow[]): void;
  /** Takes what the kernel has counted before: what comes after it is told. Once, before the first answer. */
  begin(measures: AgentMeasures): void;
  /** Returns all of them as text; what the agent and the gate say is asked for at that moment. */
  render(now: MetricsNow): Promise<string>;
  readonly contentType: string;
}

export interface MetricsNow {
  readonly nowMs: number;
  /** Null when the agent does not answer. */
  readonly status: GatewayStatus | null;
  readonly counters: KernelCounters | null;
  readonly measures: AgentMeasures | null;
  readonly store: StoreState;
}

/** Host entries that get a label of their own. */
const MAX_HOSTS = 1_000;
const OTHER = "other";
const NO_HOST = "";

/** Types that are told apart; whoever asks chooses them, so the others share a label. */
const TYPES: ReadonlySet<string> = new Set([
  ...["A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT"],
]);

const sniCategories: { readonly [reason: string]: string } = {
  allowed: "match",
  "connect-failed": "match",
  "sni-not-allowed": "mismatch",
  "not-tls": "not_tls",
  "sni-missing": "no_extension",
  "sni-malformed": "malformed",
  "hello-fragmented": "malformed",
  "hello-timeout": "timeout",
};

/** Returns the metrics, all at zero. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const counts = createCounts(registry);
  const gauges = createGauges(registry);
  const latency = createHistogramView(registry, "dns_latency", "From a question to the gate's answer to it.");
  const holds = createHistogramView(registry, "dns_hold", "How long questions waited for a policy to take effect.");
  const steps = createHistogramView(registry, "policy_apply_step", "How long steps of applies took.", "step");
  const shaped = createShapedGrowth();
  const hosts = new Set<string>();
  const hostOf = (host: string | null): string => {
    if (host === null) return NO_HOST;
    if (!hosts.has(host) && hosts.size >= MAX_HOSTS) return OTHER;
    hosts.add(host);
    return host;
  };
  return {
    contentType: registry.contentType,
    note: (rows) => {
      for (const row of rows) noteRow(counts, row, hostOf(row.key.host));
    },
    begin: (measures) => {
      shaped.take(measures.shaped);
    },
    render: async (now) => {
      for (const metric of Object.values(gauges)) forget(metric);
      setStore(gauges, now);
      if (now.status === null) gauges.up.set({ component: "agent" }, 0);
      else setStatus(gauges, now.status, now.nowMs);
      setKernel(gauges, now.counters);
      if (now.measures !== null) setMeasures(gauges, now.measures, hostOf);
      for (const { host, bytes } of shaped.take(now.measures?.shaped ?? null)) {
        counts.shaped.inc({ host: hostOf(host) }, bytes);
      }
      const gate = now.status?.gate ?? null;
      latency.show(gate === null ? null : { all: gate.latency });
      holds.show(gate === null ? null : { all: gate.holds });
      steps.show(now.measures?.steps ?? null);
      return await registry.metrics();
    },
  };
}

function noteRow(counts: Counts, { key, count, bytesUp, bytesDown }: DecisionRow, host: string): void {
  const { plane, verdict, reason } = key;
  if (count > 0) counts.decisions.inc({ plane, verdict, reason, host }, count);
  if (plane === "dns") {
    const type = key.type ?? OTHER;
    counts.queries.inc({ verdict, qtype: TYPES.has(type) ? type : OTHER }, count);
    return;
  }
  if (plane === "tls") counts.sni.inc({ category: sniCategories[reason] ?? OTHER }, count);
  if (verdict !== "allow") return;
  if (count > 0) counts.connections.inc({ host }, count);
  if (bytesUp > 0) counts.bytes.inc({ host, direction: "up" }, bytesUp);
  if (bytesDown > 0) counts.bytes.inc({ host, direction: "down" }, bytesDown);
}

/** What nobody tells is left out: a total of zero would look like one that began anew. */
function forget(metric: Gauges[keyof Gauges]): void {
  metric.reset();
  // The library gives a metric without labels a zero.
  metric.remove({});
}

function setStore(gauges: Gauges, { store }: MetricsNow): void {
  gauges.storedRows.set(store.rows);
  gauges.storedBytes.set(store.bytes);
  gauges.storedSince.set(store.completeSinceS);
}

function setStatus(gauges: Gauges, status: GatewayStatus, nowMs: number): void {
  const { confirmed, times, breakGlass } = status;
  for (const [component, isUp] of componentsOf(status)) gauges.up.set({ component }, isUp ? 1 : 0);
  if (confirmed.commit !== null) {
    const signers = confirmed.approvedBy.length === 0 ? [""] : confirmed.approvedBy;
    for (const signer of signers) gauges.info.set({ commit: confirmed.commit, signer }, 1);
  }
  gauges.serial.set(confirmed.serial);
  if (confirmed.at !== null) gauges.applied.set(Date.parse(confirmed.at) / 1000);
  if (times.lastPoll !== null) gauges.fetchAge.set(Math.max(0, (nowMs - Date.parse(times.lastPoll)) / 1000));
  gauges.stale.set(status.stale ? 1 : 0);
  gauges.degraded.set(status.degraded.length);
  gauges.pending.set(status.pending === null ? 0 : 1);
  gauges.insecure.set(status.insecure ? 1 : 0);
  gauges.audited.set(status.audited.length);
  gauges.breakGlass.set(breakGlass === null ? 0 : 1);
  if (breakGlass !== null) gauges.breakGlassUntil.set(Date.parse(breakGlass.until) / 1000);
  gauges.drift.inc({ component: "tables" }, status.drift.restored);
  gauges.driftHeld.set(status.drift.held === null ? 0 : 1);
  setCounts(gauges, status.counts);
  if (status.gate !== null) setGate(gauges, status.gate);
}

function componentsOf(status: GatewayStatus): readonly (readonly [component: string, isUp: boolean])[] {
  const { agent, gate, named, proxy, ulogd, tables } = status;
  return [
    ["agent", agent.pid !== null],
    ["gate", gate?.ready === true],
    ["named", named.pid !== null && gate?.named.ok === true],
    ["proxy", proxy.pid !== null || !proxy.isNeeded],
    ["ulogd", ulogd.pid !== null],
    ["tables", tables.base && tables.policy],
  ];
}

function setCounts(gauges: Gauges, counts: GatewayStatus["counts"]): void {
  for (const [result, count] of Object.entries(counts?.cycles ?? {})) gauges.applies.inc({ result }, count);
  for (const [reason, count] of Object.entries(counts?.errors ?? {})) gauges.rejected.inc({ reason }, count);
  for (const [component, count] of Object.entries(counts?.restarts ?? {})) gauges.restarts.inc({ component }, count);
  if (counts?.lastApplySeconds != null) gauges.applySeconds.set(counts.lastApplySeconds);
}

function setGate(gauges: Gauges, gate: NonNullable<GatewayStatus["gate"]>): void {
  for (const [host, pins] of Object.entries(gate.pinsByGroup)) gauges.pins.set({ host }, pins);
  for (const [within, entries] of Object.entries(gate.expiring)) gauges.expiring.set({ within }, entries);
  gauges.evictions.inc(gate.collectedGrants);
  gauges.grants.set(gate.grants);
  gauges.clients.set(gate.clients);
  gauges.gateBytes.set(gate.residentBytes);
  gauges.recordLines.inc(gate.denials.written);
  const planes = [...Object.values(gate.denials.denied), ...Object.values(gate.denials.audited)];
  const denials = planes.flatMap((reasons) => Object.values(reasons)).reduce((sum, count) => sum + count, 0);
  gauges.suppressed.inc(Math.max(0, denials - gate.denials.written));
}

function setKernel(gauges: Gauges, counters: KernelCounters | null): void {
  for (const [counter, packets] of Object.entries(counters?.denied ?? {})) {
    if (counter === "over_limit") gauges.shaped.inc(packets);
    else gauges.refused.inc({ counter: counter.replace(/^denied_/, "") }, packets);
  }
}

function setMeasures(
  gauges: Gauges,
  { flows, revoked, echHellos }: AgentMeasures,
  hostOf: (host: string | null) => string,
): void {
  for (const path of ["straight", "proxy"] as const) {
    for (const { host, count } of flows[path] ?? []) gauges.flows.inc({ host: hostOf(host), path }, count);
    const ended = revoked[path];
    if (ended !== null) gauges.revoked.inc({ path }, ended);
  }
  gauges.ech.inc(echHellos);
}
