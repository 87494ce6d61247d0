import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentMeasures } from "../../agent/control/agent-calls.ts";
import type { DecisionKey, DecisionRow } from "../../agent/decisions/decision.ts";
import type { GatewayStatus } from "../../agent/report/gateway-status.ts";

/** Returns a new temporary folder. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "clawgress-sample-"));
}

const nothing = {
  ...{ client: "192.168.10.10", host: "agent-1", name: null, type: null, destination: null },
  ...{ port: null, protocol: null, label: null, rule: null },
} as const;

/** Returns one row of each kind of decision, in the minutes before a time. */
export function sampleRows(nowS: number): readonly DecisionRow[] {
  const row = (ageS: number, key: Partial<DecisionKey>, count: number, bytesUp = 0, bytesDown = 0): DecisionRow => ({
    atS: nowS - ageS,
    key: { ...nothing, plane: "dns", verdict: "allow", reason: "allowed", ...key },
    ...{ count, bytesUp, bytesDown },
  });
  const openai = { name: "api.openai.com", label: "llm-provider", rule: "policy.json:5" };
  const denied = { verdict: "deny" } as const;
  const stranger = { client: "192.168.10.77", host: null };
  return [
    row(1500, { ...openai, type: "A" }, 12),
    row(1500, { ...openai, plane: "ip", port: 443, protocol: "tcp" }, 4, 48_211, 1_204_555),
    row(1200, { ...denied, reason: "dns-not-allowed", name: "telemetry.example.com", type: "AAAA" }, 388),
    row(
      900,
      {
        ...denied,
        plane: "ip",
        reason: "port-not-allowed",
        ...openai,
        destination: "203.0.113.70",
        port: 22,
        protocol: "tcp",
      },
      9,
    ),
    row(
      600,
      {
        ...denied,
        ...stranger,
        plane: "tls",
        reason: "sni-not-allowed",
        name: "evil.example",
        port: 443,
        protocol: "tcp",
      },
      2,
    ),
    row(300, { ...stranger, plane: "http", name: "mirror.example", port: 80, protocol: "tcp" }, 1, 300, 90_000),
    row(60, { ...stranger, verdict: "would-deny", reason: "dns-not-allowed", name: "new.example", type: "A" }, 3),
  ];
}

/** Returns a status: all is well; a glass is broken and a commit waits; or only the lifeline is open. */
export function sampleStatus(kind: "well" | "broken" | "closed"): GatewayStatus {
  const commit = "3f2a91c0".repeat(5);
  const at = "2026-11-22T10:16:40.000Z";
  const error = { code: "HEALTH_FAILED", message: 'probe "mirror" fails: refused', remedy: null } as const;
  const refused = {
    outcome: "rolled-back",
    commit: "77ab0000".repeat(5),
    at: "2026-11-22T11:00:00.000Z",
    ...error,
  } as const;
  const well = kind === "well";
  const closed = kind === "closed";
  return {
    ...{ version: 1, ok: !closed, gateway: "gw-berlin-1", state: closed ? "closed" : "enforcing", insecure: false },
    repository: { url: "https://git.example.com/acme/egress.git", branch: "main", name: "acme-egress" },
    confirmed: { release: "ab".repeat(32), serial: 41, commit, at, whole: null, approvedBy: ["alice", "bob"] },
    verified: {
      ...{ root: 1, rootDigest: null, serial: 41, lockDigest: "cd".repeat(32), commit },
      ...{ at: "2026-11-22T10:16:39.000Z", parts: {}, freshAt: null, freshUntil: null },
    },
    suspended: closed ? { by: "dave", reason: "audit until noon", since: at } : null,
    trust: null,
    pending: well ? null : refused,
    times: {
      lastPoll: "2026-11-22T11:03:10.000Z",
      lastChange: "2026-11-22T10:16:39.000Z",
      lastVerified: at,
      lastApplied: at,
    },
    degraded: well ? [] : ["something is wrong"],
    ...{
      stale: closed,
      drift: { restored: well ? 0 : 2, lastAt: well ? null : at, held: well ? null : "a rule of the base table" },
      audited: well ? [] : ["agent-2", "*"],
    },
    breakGlass:
      kind === "broken"
        ? {
            by: "carol",
            reason: "the mirror moved",
            since: at,
            until: "2026-11-22T11:30:00.000Z",
            release: "ef".repeat(32),
          }
        : null,
    lifeline: closed
      ? { state: "closed", code: "APPLY_RELEASE_DAMAGED", message: "a file is damaged", since: at }
      : null,
    ...{
      agent: { pid: 790 },
      named: { pid: 812 },
      ulogd: { pid: well ? 815 : null },
      api: { pid: closed ? null : 820 },
    },
    proxy: { pid: null, isNeeded: closed },
    tables: { base: true, policy: true },
    gate: closed ? null : sampleGate,
    last: well ? { outcome: "confirmed", commit, at, code: null, message: null, remedy: null } : refused,
    counts: {
      since: at,
      cycles: { confirmed: 1, unchanged: 90 },
      errors: { HEALTH_FAILED: 1 },
      lastApplySeconds: 0.6,
      restarts: { gate: 1 },
    },
    notes: [],
  };
}

/** What only metrics tell of, of the same gateway. */
export const sampleMeasures: AgentMeasures = {
  flows: {
    straight: [
      { host: "agent-1", count: 3 },
      { host: null, count: 1 },
    ],
    proxy: [{ host: "agent-1", count: 2 }],
  },
  revoked: { straight: 5, proxy: 1 },
  shaped: [{ client: "192.168.10.10", host: "agent-1", packets: 12, bytes: 18_000 }],
  echHellos: 4,
  steps: { "1-stage": { boundsS: [0.1, 1], counts: [0, 1, 0], sumS: 0.4 } },
};

const sampleGate = {
  ...{ ready: true, pid: 800, digest: "ab".repeat(32), commit: "3f2a91c0".repeat(5), serial: 41, isHeld: false },
  ...{
    pins: 212,
    pinsByGroup: { "*": 200, "agent-1": 12 },
    collectedGrants: 3,
    expiring: { "1d": 0, "7d": 1, "30d": 2 },
    latency: { boundsS: [0.001, 0.01], counts: [800, 90, 10], sumS: 4.5 },
    holds: { boundsS: [0.001, 0.01], counts: [0, 2, 1], sumS: 0.1 },
    grants: 40,
    clients: 9,
    residentBytes: 60_000_000,
    writer: "netlink",
    startedAt: "2026-11-22T10:16:36.000Z",
  },
  audited: [],
  denials: {
    denied: { dns: { "dns-not-allowed": 412 }, ip: { "port-not-allowed": 9 } },
    audited: { dns: {}, ip: {} },
    written: 30,
    unattributed: 0,
  },
  counters: { answered: 900 },
  named: { ok: true, detail: "every canary is denied" },
  clock: { latestS: 1_795_000_000, isBehind: false },
} as unknown as NonNullable<GatewayStatus["gate"]>;
