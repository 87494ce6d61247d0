import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildTestApi, KEYS, type TestApi } from "../../support/api-server.ts";

/**
 * What the richest branch of the project that the format comes from accepts and refuses, as inputs: each policy that is
 * valid there is accepted here or refused with a reason, each that is invalid there is refused.
 */

let api: TestApi;
beforeAll(async () => {
  api = await buildTestApi();
});
afterAll(async () => {
  await api.app.close();
});

const submit = (policy: unknown) => api.post("/api/clawgress/policy", { key: KEYS.propose, policy });
const base = { version: 1, allow: { domains: ["api.openai.com"], ports: [443] } };
const host = { sources: ["192.168.10.10/32"], allow: { domains: ["api.openai.com"], ports: [443] } };
const hours = { days: ["mon", "tue"], start: "08:00", end: "18:00" };

/** `null`: accepted. A pattern: refused here, with this reason. */
const valid: readonly (readonly [what: string, policy: unknown, refusal: RegExp | null])[] = [
  ["the least there is", { version: 1, allow: { domains: ["example.com"] } }, null],
  ["networks and ports", { version: 1, allow: { ips: ["1.2.3.0/24", "2001:db8::/32"], ports: [53, 80, 443] } }, null],
  ["labels", { ...base, labels: { "api.openai.com": "llm-provider" } }, null],
  ["a wildcard", { version: 1, allow: { domains: ["*.example.com"] } }, null],
  ["everything", { version: 1, allow: { domains: ["*"] } }, /POLICY_INVALID/],
  ["a version of another kind", { version: 2, allow: { domains: ["example.com"] } }, /version/],
  ["no entry at all", { version: 1, allow: { domains: [], ips: [] } }, /POLICY_INVALID/],
  ["no ports: everything there, nothing here", { version: 1, allow: { domains: ["example.com"], ports: [] } }, /ports/],
  ["SNI mode", { ...base, proxy: { mode: "sni-allowlist", domains: ["api.openai.com"] } }, null],
  [
    "SNI mode by its backend",
    { ...base, proxy: { mode: "sni-allowlist", backend: "haproxy", domains: ["api.openai.com"] } },
    null,
  ],
  ["no proxy", { ...base, proxy: { mode: "disabled", backend: "none" } }, null],
  ["a global limit", { ...base, limits: { egress_kbps: 2000 } }, null],
  ["a host", { ...base, hosts: { "agent-1": host } }, null],
  ["a host with a limit", { ...base, hosts: { "agent-1": { ...host, limits: { egress_kbps: 100 } } } }, null],
  ["hours", { ...base, time_window: hours }, null],
  ["hours of a name", { ...base, domain_time_windows: { "api.openai.com": hours } }, null],
  [
    "a cap",
    {
      ...base,
      hosts: { "agent-1": { ...host, exfil: { domains: { "api.openai.com": { bytes: 1000, period: "day" } } } } },
    },
    null,
  ],
  ["client certificates", { ...base, proxy: { mode: "sni-allowlist", mtls: { enabled: false } } }, null],
  [
    "hosts as a list, which only its helper takes",
    { ...base, hosts: [{ name: "agent-1", ...host }] },
    /a list is not an object/,
  ],
  [
    "the helper's other word for sources",
    { ...base, hosts: { "agent-1": { source_ips: ["192.168.10.10/32"] } } },
    /source_ips|sources/,
  ],
];

describe("valid there", () => {
  test.each(valid)("%s", async (_what, policy, refusal) => {
    const { status, body } = await submit(policy);
    if (refusal === null) expect(body, String(body.error)).toMatchObject({ success: true, data: { applied: true } });
    else {
      expect(body.success, "accepted though it should be refused").toBe(false);
      expect(body.error).toMatch(refusal);
      expect(body.error?.length).toBeGreaterThan(20);
      expect(status).toBe(400);
    }
  });
});

const invalid: readonly (readonly [what: string, policy: unknown])[] = [
  ["nothing", {}],
  ["no allow", { version: 1 }],
  ["allow as a list", { version: 1, allow: ["example.com"] }],
  ["no version", { allow: { domains: ["example.com"] } }],
  ["version 0", { ...base, version: 0 }],
  ["version as text", { ...base, version: "1" }],
  ["version as a fraction", { ...base, version: 1.5 }],
  ["version true", { ...base, version: true }],
  ["an unknown key", { ...base, extra: 1 }],
  ["an unknown key of allow", { version: 1, allow: { domains: ["example.com"], urls: [] } }],
  ["a name that is no text", { version: 1, allow: { domains: [7] } }],
  ["a name with a space", { version: 1, allow: { domains: ["a b.com"] } }],
  ["a name with a line feed and a record", { version: 1, allow: { domains: ["a.com\n* CNAME rpz-passthru."] } }],
  ["a name that includes a file", { version: 1, allow: { domains: ["$INCLUDE /etc/passwd"] } }],
  ["a name that is a record", { version: 1, allow: { domains: ["evil.example A 203.0.113.66 ;"] } }],
  ["a label of a name over 63 bytes", { version: 1, allow: { domains: [`${"a".repeat(64)}.com`] } }],
  ["a name over 253 bytes", { version: 1, allow: { domains: [`${"abcdefgh.".repeat(30)}com`] } }],
  ["an address for a name", { version: 1, allow: { domains: ["192.0.2.1"] } }],
  ["a network that is none", { version: 1, allow: { ips: ["1.2.3.4/33"] } }],
  ["a network as a name", { version: 1, allow: { ips: ["example.com"] } }],
  ["a network with a rule behind it", { version: 1, allow: { ips: ["1.2.3.0/24 accept"] } }],
  ["port 0", { version: 1, allow: { domains: ["example.com"], ports: [0] } }],
  ["port 65536", { version: 1, allow: { domains: ["example.com"], ports: [65_536] } }],
  ["port as text", { version: 1, allow: { domains: ["example.com"], ports: ["https"] } }],
  ["a label with a line feed", { ...base, labels: { "api.openai.com": "x\n* CNAME rpz-passthru." } }],
  ["a label with spaces", { ...base, labels: { "api.openai.com": "llm provider" } }],
  ["a label that is no text", { ...base, labels: { "api.openai.com": 5 } }],
  ["labels as a list", { ...base, labels: ["llm"] }],
  ["a proxy mode that is none", { ...base, proxy: { mode: "mitm" } }],
  ["a proxy backend that is none", { ...base, proxy: { mode: "sni-allowlist", backend: "squid" } }],
  ["a limit of nothing", { ...base, limits: { egress_kbps: 0 } }],
  ["a limit below nothing", { ...base, limits: { egress_kbps: -5 } }],
  ["a limit as text", { ...base, limits: { egress_kbps: "fast" } }],
  ["a limit that nobody knows", { ...base, limits: { ingress_kbps: 5 } }],
  ["a host with rules in its name", { ...base, hosts: { 'h" accept\n    accept\n#': host } }],
  ["a host name over 63 bytes", { ...base, hosts: { ["a".repeat(64)]: host } }],
  ["a host without sources", { ...base, hosts: { "agent-1": { allow: host.allow } } }],
  ["a host with no sources", { ...base, hosts: { "agent-1": { ...host, sources: [] } } }],
  ["a source that is none", { ...base, hosts: { "agent-1": { ...host, sources: ["lan"] } } }],
  ["one source of two hosts", { ...base, hosts: { "a-b": host, a_b: host } }],
  ["an unknown key of a host", { ...base, hosts: { "agent-1": { ...host, extra: 1 } } }],
  ["hours without an end", { ...base, time_window: { days: ["mon"], start: "08:00" } }],
  ["a day that is none", { ...base, time_window: { ...hours, days: ["funday"] } }],
  ["an hour that is none", { ...base, time_window: { ...hours, start: "25:00" } }],
  [
    "a cap below nothing",
    { ...base, hosts: { "agent-1": { ...host, exfil: { domains: { "a.com": { bytes: -1, period: "day" } } } } } },
  ],
  [
    "a period that is none",
    { ...base, hosts: { "agent-1": { ...host, exfil: { domains: { "a.com": { bytes: 1, period: "year" } } } } } },
  ],
];

describe("invalid there", () => {
  test.each(invalid)("%s", async (_what, policy) => {
    const made = api.proposals.length;
    const { status, body } = await submit(policy);
    expect(body).toMatchObject({ success: false, data: null });
    expect(status).toBe(400);
    expect(body.error).toMatch(/^(?:POLICY_|USAGE)/);
    expect(api.proposals).toHaveLength(made);
  });
});
