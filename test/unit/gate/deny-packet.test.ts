import { describe, expect, test } from "vitest";
import { portClasses } from "../../../agent/compile/port-classes.ts";
import { type ActivePolicy, indexPolicy } from "../../../agent/gate/active-policy.ts";
import { packetDenial } from "../../../agent/gate/deny-packet.ts";
import type { RefusedPacket } from "../../../agent/gate/packet-line.ts";
import { policyOf } from "../../support/compile-samples.ts";
import { surroundings } from "../../support/surroundings.ts";

function active(document: object): ActivePolicy {
  const policy = policyOf(document);
  const release = {
    schema: 1 as const,
    policy,
    groups: { "*": 5 },
    caps: policy.groups.flatMap(({ name: group, caps = [] }) => caps.map((cap) => ({ ...cap, group, mark: 77 }))),
    classes: portClasses(policy),
    canary: "c",
    blockCanary: "b",
    probes: [],
  };
  const provenance = { commit: "abc", serial: 7, repository: "r", approvedBy: [] };
  return indexPolicy({ digest: "d", folder: "/r", release, provenance }, surroundings());
}

const allow = { domains: [{ domain: "api.test", label: "llm" }], ips: ["192.0.2.0/24"], ports: [443] };
const hosts = { one: { sources: ["10.0.0.1"], allow: { ips: ["198.51.100.7"], ports: [22] } } };
const deniedNetworks = { ips: [{ network: "203.0.113.3", label: "bad", owner: "soc" }] };
const policy = active({ version: 1, allow, hosts, deny: deniedNetworks });
const closed = active({ version: 1, mode: "deny-all", allow });

const capped = active({
  version: 1,
  allow,
  hosts: { all: { sources: ["10.0.0.0/8"], exfil: { domains: { "api.test": { bytes: 5_000_000, period: "day" } } } } },
});
const usage = { pattern: "api.test", period: "day", startMs: 0, used: 5_100_000, bytes: 5_000_000 } as const;

const packet: RefusedPacket = {
  origin: "forward",
  isOverCap: false,
  source: "10.0.0.5",
  destination: "203.0.113.9",
  sourcePort: 40_000,
  destinationPort: 443,
  protocol: "tcp",
  inInterface: "lan0",
  outInterface: "wan0",
};

const names: { readonly [pair: string]: readonly string[] } = {
  "10.0.0.5 203.0.113.1": ["api.test"],
  "10.0.0.5 203.0.113.3": ["api.test"],
  "10.0.0.5 203.0.113.2": Array.from({ length: 20 }, (_, index) => `n${index}.test`),
};

function deny(change: Partial<RefusedPacket>, by: ActivePolicy | null = policy): object {
  const denial = packetDenial(
    { ...packet, ...change },
    {
      policy: by,
      namesOf: (client, address) => names[`${client} ${address}`] ?? [],
      isClientInterface: (name) => name.startsWith("lan"),
      usageOf: (mark) => (mark === 77 ? usage : null),
    },
  );
  const { plane, verdict, reason, client } = denial;
  return { plane, verdict, reason, client, ...denial.describe() };
}

test("that a byte cap has no room for is told with the cap", () => {
  const packetOver = { isOverCap: true, destination: "203.0.113.1" };
  expect(deny(packetOver, capped)).toMatchObject({
    ...{ reason: "quota", host: "all", names: ["api.test"], label: "llm", action: "rst" },
    nearMiss: "api.test: 5 MB of 5 MB used until 1970-01-02T00:00:00Z",
    rule: { pointer: "/hosts/all/exfil/domains/api.test" },
  });
  // Nobody knows the name any more, but why is certain.
  expect(deny({ isOverCap: true }, capped)).toMatchObject({ reason: "quota", names: null, nearMiss: null });
  expect(deny({ ...packetOver, origin: "audit" }, capped)).toMatchObject({ verdict: "would-deny", reason: "quota" });
});

describe("a refused packet", () => {
  test.each<[string, Partial<RefusedPacket>, object]>([
    ["to an address of no entry", {}, { reason: "ip-not-allowed", host: null, group: "*", action: "rst" }],
    [
      "to another host's network",
      { destination: "198.51.100.7", destinationPort: 22 },
      { reason: "ip-not-allowed", nearMiss: "198.51.100.7/32 is allowed for host one" },
    ],
    [
      "to an allowed network on another port",
      { destination: "192.0.2.9", destinationPort: 80 },
      { reason: "port-not-allowed", nearMiss: "192.0.2.9 is allowed on 443/tcp" },
    ],
    [
      "to an allowed network over UDP",
      { destination: "192.0.2.9", protocol: "udp" },
      { reason: "port-not-allowed", action: "icmp" },
    ],
    [
      "to the address of an answered name on another port",
      { destination: "203.0.113.1", destinationPort: 80 },
      { reason: "port-not-allowed", names: ["api.test"], label: "llm", nearMiss: "api.test is allowed on 443/tcp" },
    ],
    [
      "to a denied network, though a name led there",
      { destination: "203.0.113.3" },
      { reason: "denied-explicit", label: "bad", notes: { owner: "soc" }, nearMiss: "deny lists 203.0.113.3/32" },
    ],
    [
      "that an audit let pass",
      { origin: "audit", destination: "203.0.113.9" },
      { verdict: "would-deny", reason: "ip-not-allowed", action: "pass" },
    ],
    ["that is open by now", { destination: "203.0.113.1" }, { reason: "not-ready", names: ["api.test"] }],
    ["to an address of names that are gone", { destination: "203.0.113.2" }, { reason: "ip-not-allowed" }],
    [
      "that is no TCP or UDP",
      { protocol: "icmp", destinationPort: null },
      { reason: "proto-not-allowed", action: "icmp" },
    ],
    ["that is a fragment", { protocol: "udp", destinationPort: null }, { reason: "proto-not-allowed" }],
    ["between clients", { outInterface: "lan1" }, { reason: "between-clients" }],
    ["of a host entry", { source: "10.0.0.1" }, { reason: "ip-not-allowed", host: "one", group: "one" }],
    ["to the gateway", { origin: "input", outInterface: null }, { reason: "gateway-port", host: null }],
    [
      "that answers a flow that is over",
      {
        origin: "reply",
        source: "203.0.113.9",
        destination: "10.0.0.1",
        sourcePort: 443,
        inInterface: "wan0",
        outInterface: "lan0",
      },
      { reason: "ip-not-allowed", client: "10.0.0.1", host: "one", destination: "203.0.113.9", port: 443 },
    ],
    [
      "from outside to a client",
      { origin: "outside", source: "203.0.113.9", destination: "10.0.0.1", inInterface: "wan0", outInterface: "lan0" },
      { reason: "from-outside", client: "203.0.113.9", host: null, group: null, destination: "10.0.0.1" },
    ],
    [
      "from an interface of no clients",
      { origin: "outside", inInterface: "dmz0", source: "10.0.0.1" },
      { reason: "host-unknown", host: null, group: null },
    ],
    [
      "with a spoofed source",
      { origin: "spoofed", outInterface: null, destination: "203.0.113.1" },
      { reason: "spoofed-source", action: "drop", names: null },
    ],
    [
      "that names its own route",
      { origin: "routed", outInterface: null, source: "10.0.0.1" },
      { reason: "source-route", action: "drop", client: "10.0.0.1", host: "one" },
    ],
  ])("%s", (_title, change, expected) => {
    expect(deny(change)).toMatchObject({ plane: "ip", commit: "abc", serial: 7, ...expected });
  });

  test("under deny-all, and before there is a policy", () => {
    expect(deny({}, closed)).toMatchObject({ reason: "deny-all", nearMiss: null });
    expect(deny({ protocol: "icmp", destinationPort: null }, closed)).toMatchObject({ reason: "deny-all" });
    expect(deny({}, null)).toMatchObject({ reason: "not-ready", host: null, group: null, commit: null, serial: null });
    expect(deny({ origin: "input", outInterface: null }, null)).toMatchObject({ reason: "gateway-port" });
  });

  test("names at most eight of the names that led there", () => {
    expect((deny({ destination: "203.0.113.2" }) as { names: unknown[] }).names).toHaveLength(8);
  });
});
