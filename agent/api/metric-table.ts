import { Counter, Gauge, type Registry } from "prom-client";

/* Every metric but the histograms, with its help and its labels. */

export type Counts = ReturnType<typeof createCounts>;
export type Gauges = ReturnType<typeof createGauges>;

/** Returns the counters that are counted here, as decisions are stored. */
export function createCounts(registry: Registry) {
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
    shaped: counter("shaped_bytes_total", "Bytes over a limit of egress_kbps, with IP headers.", ["host"]),
  };
}

/** Returns what is told as it is at the moment of an answer. */
export function createGauges(registry: Registry) {
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
    driftHeld: gauge("drift_held", "1 while what somebody changed is left as it is, as drift.response says."),
    restarts: total("component_restarts", "Parts that were started again since the agent's start.", ["component"]),
    pins: gauge("pins", "Addresses that the gate holds open, by group of the policy; counted every 10 s.", ["host"]),
    evictions: total("pin_evictions", "Grants without pins and flows that were collected near their bound."),
    expiring: gauge("exceptions_expiring", "Entries that will have expired by then, and have not yet.", ["within"]),
    grants: gauge("grants", "Pairs of group and grant in force."),
    clients: gauge("clients", "Clients that asked the gate lately."),
    gateBytes: gauge("gate_resident_bytes", "Memory of the gate."),
    recordLines: total("records_written", "Lines of deny records that the gate has written since its start."),
    suppressed: total("log_suppressed", "Denials since the gate's start that have no line of their own."),
    refused: total("refused_packets", "Packets that the kernel refused, by its own counters.", ["counter"]),
    shaped: total("shaped_packets", "Packets over a limit of egress_kbps."),
    flows: gauge("flows_active", "Established flows that are let through, by the way that they go.", ["host", "path"]),
    revoked: total("flows_revoked", "Flows that were ended because what allowed them went.", ["path"]),
    ech: total("sni_ech", "TLS hellos to the proxy with the extension of ECH, which GREASE looks like."),
    storedRows: gauge("stored_decisions", "Rows of stored decisions; equal decisions of a second are one."),
    storedBytes: gauge("stored_decisions_bytes", "Their bytes on disk."),
    storedSince: gauge("stored_decisions_since_timestamp_seconds", "What was decided since is all stored."),
  };
}
