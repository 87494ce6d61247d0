import { Counter, Gauge, Registry } from "prom-client";
import type { KernelCounters } from "../control/agent-calls.ts";
import type { DecisionKey, DecisionRow } from "../decisions/decision.ts";
import type { StoreState } from "../decisions/store.ts";
import type { GatewayStatus } from "../report/gateway-status.ts";

/** The metrics of a gateway. No label holds a name that somebody asked for: their values are bounded by the policy. */
export interface Metrics {
  /** Counts decisions as they are stored. */
  note(rows: readonly DecisionRow[]): void;
  /** Returns all of them as text; what the agent and the gate say is asked for at that moment. */
  render(now: MetricsNow): Promise<string>;
  readonly contentType: string;
}

export interface MetricsNow {
  readonly nowMs: number;
  /** Null when the agent does not answer. */
  readonly status: GatewayStatus | null;
  readonly counters: KernelCounters | null;
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
  const hosts = new Set<string>();
  const hostOf = ({ host }: DecisionKey): string => {
    if (host === null) return NO_HOST;
    if (!hosts.has(host) && hosts.size >= MAX_HOSTS) return OTHER;
    hosts.add(host);
    return host;
  };
  return {
    contentType: registry.contentType,
    note: (rows) => {
      for (const row of rows) noteRow(counts, row, hostOf(row.key));
    },
    render: async (now) => {
      for (const metric of Object.values(gauges)) metric.reset();
      setStore(gauges, now);
      if (now.status !== null) setStatus(gauges, now.status, now.nowMs);
      setKernel(gauges, now.counters);
      return await registry.metrics();
    },
  };
}

type Counts = ReturnType<typeof createCounts>;
type Gauges = ReturnType<typeof createGauges>;

function createCounts(registry: Registry) {
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name: `clawgress_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  return {
    decisions: counter("decisions_total", "Decisions that were stored.", ["plane", "verdict", "reason", "host"]),
    queries: counter("dns_queries_total", "DNS questions.", ["verdict", "qtype"]),
    sni: counter("sni_total", "TLS connections to the proxy of SNI mode.", ["category"]),
    connections: counter("connections_total", "Connections and UDP flows that were let through.", ["host"]),
    bytes: counter("bytes_total", "Bytes that were let through, with IP headers; up is towards the internet.", [
      "host",
      "direction",
    ]),
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

function createGauges(registry: Registry) {
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Gauge({ name: `clawgress_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  /** Counted elsewhere: set anew for each answer. */
  const total = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name: `clawgress_${name}_total`, help, labelNames: [...labelNames], registers: [registry] });
  return {
    up: gauge("component_up", "1 for each part that runs and does its work.", ["component"]),
    info: gauge("policy_info", "1 for the commit that is enforced, and each who approved it.", ["commit", "signer"]),
    serial: gauge("policy_serial", "Serial of what is enforced."),
    applied: gauge("policy_applied_timestamp_seconds", "When what is enforced was confirmed."),
    applySeconds: gauge("policy_apply_seconds", "How long the last change took from commit seen to confirmed."),
    applies: total("policy_apply", "Cycles of the agent since its start, by how they ended.", ["result"]),
    rejected: total("policy_rejected", "Commits that did not come into force since the agent's start.", ["reason"]),
    fetchAge: gauge("git_fetch_age_seconds", "Seconds since the last poll that the server answered."),
    stale: gauge("stale", "1 without a poll that succeeded for longer than poll.staleAfterMs."),
    degraded: gauge("degraded", "How many things are wrong, as in status."),
    pending: gauge("policy_pending", "1 when the newest head is not what is enforced."),
    insecure: gauge("insecure", "1 when unsigned policies run."),
    audited: gauge("audited_groups", "Groups to which nothing is denied, because they are under audit."),
    breakGlass: gauge("break_glass", "1 while a policy is in force that nobody approved."),
    breakGlassUntil: gauge("break_glass_until_timestamp_seconds", "When it ends."),
    drift: total("drift", "Times that rules were restored since the agent's start.", ["component"]),
    restarts: total("component_restarts", "Parts that were started again since the agent's start.", ["component"]),
    pins: gauge("pins", "Addresses that the gate holds open."),
    grants: gauge("grants", "Pairs of group and grant in force."),
    clients: gauge("clients", "Clients that asked the gate lately."),
    gateBytes: gauge("gate_resident_bytes", "Memory of the gate."),
    recordLines: total("records_written", "Lines of deny records that the gate has written since its start."),
    suppressed: total("log_suppressed", "Denials since the gate's start that have no line of their own."),
    refused: total("refused_packets", "Packets that the kernel refused, by its own counters.", ["counter"]),
    shaped: total("shaped_packets", "Packets over a limit of egress_kbps."),
    storedRows: gauge("stored_decisions", "Rows of stored decisions; equal decisions of a second are one."),
    storedBytes: gauge("stored_decisions_bytes", "Their bytes on disk."),
    storedSince: gauge("stored_decisions_since_timestamp_seconds", "What was decided since is all stored."),
  };
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
  gauges.pins.set(gate.pins);
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
