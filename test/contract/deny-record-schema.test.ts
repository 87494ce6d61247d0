import { describe, expect, test } from "vitest";
import { commonDetails, type DenyRecord, type ProxyDetails } from "../../agent/gate/deny-record.ts";
import { reasons } from "../../agent/policy/reasons.ts";
import { recordReasons, refuseRecord } from "../support/deny-records.ts";

/** The published schema is what the gate writes: one list of reasons, and no key that it does not know. */

const common: Pick<
  DenyRecord,
  "ts" | "schema" | "gateway" | "verdict" | "severity" | "client" | "count" | "suppressed"
> = {
  ts: "2026-01-02T03:04:05.678Z",
  schema: 1,
  gateway: "gw",
  verdict: "deny",
  severity: "low",
  client: "10.0.0.1",
  count: 3,
  suppressed: 2,
};
const question: DenyRecord = {
  ...common,
  ...commonDetails("nxdomain", null, null, null),
  ...{ plane: "dns", reason: "dns-not-allowed", name: "x.test", type: "A" },
};
const packet: DenyRecord = {
  ...common,
  ...commonDetails("rst", null, null, null),
  ...{
    plane: "ip",
    reason: "port-not-allowed",
    interface: "lan0",
    destination: "2001:db8::1",
    port: 22,
    protocol: "tcp",
  },
  ...{ names: ["x.test"], rule: { file: "policy.json", line: 4, pointer: "/allow/domains/0" } },
};

const proxy: ProxyDetails = {
  ...{ id: "00000000-0000-4000-8000-000000000001", clientPort: 40_000, status: null, bytesUp: 517, bytesDown: 0 },
  ...{ connectMs: -1, ms: 3, end: "PR", ech: false },
};
const hello: DenyRecord = {
  ...common,
  ...commonDetails("close", null, null, null),
  ...{ plane: "tls", reason: "sni-not-allowed", name: "x.test", port: 443, protocol: "tcp", proxy },
};
const request: DenyRecord = { ...hello, plane: "http", reason: "host-not-allowed", port: 80, action: "http-status" };

describe("the schema of deny records", () => {
  test("lists the reasons of the program, and no other", () => {
    expect([...recordReasons].sort()).toEqual(Object.keys(reasons).sort());
  });

  test("accepts a question and a packet", () => {
    expect(refuseRecord(question)).toBeNull();
    expect(refuseRecord(packet)).toBeNull();
    expect(refuseRecord({ ...packet, port: null, protocol: "47", names: null, rule: null })).toBeNull();
  });

  test("accepts a ClientHello and a request, denied or allowed", () => {
    expect(refuseRecord(hello)).toBeNull();
    expect(refuseRecord({ ...request, proxy: { ...proxy, status: 403 } })).toBeNull();
    const allowed = { verdict: "allow", reason: "allowed", action: "pass", count: null, suppressed: 0 };
    for (const record of [hello, request]) expect(refuseRecord({ ...record, ...allowed })).toBeNull();
    expect(refuseRecord({ ...hello, ...allowed, reason: "connect-failed", action: "close" })).toBeNull();
  });

  test("gives every reason its severity, and every plane some reasons", () => {
    for (const plane of ["dns", "ip", "tls", "http"] as const) {
      expect(
        Object.values(reasons).filter(({ planes }) => (planes as readonly string[]).includes(plane)).length,
      ).toBeGreaterThan(5);
    }
    expect(new Set(Object.values(reasons).map(({ severity }) => severity))).toEqual(
      new Set(["info", "low", "medium", "high"]),
    );
  });

  test.each<[string, object]>([
    ["a packet that was allowed", { ...packet, verdict: "allow" }],
    ["a ClientHello without what the proxy knows", { ...hello, proxy: null }],
    ["a question with what only the proxy knows", { ...question, proxy }],
    ["an allowed connection with a reason to deny", { ...hello, verdict: "allow", action: "pass", count: null }],
    ["a ClientHello that is answered by a reset", { ...hello, action: "rst" }],
    ["an unknown key", { ...packet, extra: 1 }],
    ["an unknown reason", { ...packet, reason: "because" }],
    ["another schema", { ...packet, schema: 2 }],
    ["a packet with a question's name", { ...packet, name: "x.test" }],
    ["a question with a packet's destination", { ...question, destination: "192.0.2.1" }],
    ["a question that is reset", { ...question, action: "rst" }],
    ["a client that is no address", { ...question, client: "agent-1" }],
    ["a time that is not UTC", { ...question, ts: "2026-01-02T03:04:05+01:00" }],
    ["nothing counted", { ...question, count: 0 }],
  ])("refuses %s", (_title, record) => {
    expect(refuseRecord(record)).not.toBeNull();
  });

  test.each(Object.keys(packet))("refuses a record without %s", (key) => {
    const { [key as keyof DenyRecord]: _left, ...rest } = packet;
    expect(refuseRecord(rest)).not.toBeNull();
  });
});
