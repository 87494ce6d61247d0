import { describe, expect, it, test } from "vitest";
import { compile } from "../../../agent/compile/compile.ts";
import { renderZones } from "../../../agent/compile/rpz.ts";
import { comparePolicies } from "../../../agent/policy/compare-policies.ts";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { describeChanges } from "../../../agent/policy/describe-changes.ts";
import { policyOf, settingsWith } from "../../support/compile-samples.ts";
import { parseDocument, validPolicy } from "../../support/policy-text.ts";

/** What a repository may hold as a policy, by the list of attacks. */

const fails = (document: object): boolean => !parseDocument({ version: 1, ...document }).ok;
const textOf = (document: object, path: string): string => {
  const { artifacts } = compile({ policy: policyOf(document), settings: settingsWith() });
  return artifacts.find((artifact) => artifact.path === path)?.bytes.toString("utf8") ?? "";
};

test.each([{}, { allow: {} }, { allow: { domains: [] } }, { allow: { domains: [], ips: [] }, hosts: {} }])(
  "GC17: a policy that allows nothing is refused unless it says deny-all: %j",
  (document) => {
    expect(fails(document)).toBe(true);
    expect(fails({ ...document, mode: "deny-all" })).toBe(false);
  },
);

test("GC18: a change that takes away most of a policy closes only what it takes away, and approvers are shown which", () => {
  const names = Array.from({ length: 200 }, (_, index) => `n${index}.example.com`);
  const before = validPolicy({ version: 1, allow: { domains: names } });
  const after = validPolicy({ version: 1, allow: { domains: names.slice(0, 2) } });
  const decider = buildDecider(after);
  const verdicts = names.map((name) => decider.decideName(decider.clientOf("10.0.0.1"), name).verdict);
  expect(verdicts.filter((verdict) => verdict === "allow")).toHaveLength(2);
  const changes = comparePolicies(before, after);
  expect(changes.domainsRemoved).toHaveLength(198);
  expect(describeChanges(changes).join("\n")).toContain("n199.example.com");
});

describe("GC19: a name is no way into a zone", () => {
  const bad = [
    "a.example;",
    "a.example\n* CNAME rpz-passthru.",
    "$INCLUDE /etc/shadow",
    "$GENERATE 1-9 a$.example",
    "*.",
    "*",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(128)}example`,
    "a b.example",
    '"a".example',
    "a\\032.example",
  ];
  it.each(bad)("%j is refused, as a name and as one that is denied", (name) => {
    expect(fails({ allow: { domains: [name] } })).toBe(true);
    expect(fails({ allow: { domains: ["b.example"] }, deny: { domains: [name] } })).toBe(true);
  });

  it("a name that looks like an action of the zone is a name below the zone, and a dot at its end changes nothing", () => {
    const zone = (name: string): string => renderZones(policyOf({ version: 1, allow: { domains: [name] } })).allow;
    expect(zone("a.rpz-passthru.example")).toMatch(/^a\.rpz-passthru\.example\s/m);
    expect(zone("a.rpz-passthru.example")).not.toMatch(/^\S*rpz-passthru\.\s/m);
    const dotted = parseDocument({ version: 1, allow: { domains: ["b.example."] } });
    if (dotted.ok) expect(zone("b.example.")).toBe(zone("b.example"));
  });
});

describe("GC20: nothing that people write is a rule of the packet filter", () => {
  const hostile = ['x" accept', "x\\", "x }", "x\naccept", "include /etc/passwd", "$(reboot)"];
  it.each(hostile)("a label %j", (label) => {
    const document = {
      version: 1,
      allow: { domains: ["b.example"], ips: ["192.0.2.0/24"] },
      labels: { "b.example": label },
    };
    const plain = textOf({ ...document, labels: { "b.example": "plain" } }, "policy.nft");
    // One that is accepted reaches no rule at all.
    expect(parseDocument(document).ok ? textOf(document, "policy.nft") : plain).toBe(plain);
  });

  it.each(hostile)("the name of a host %j", (name) => {
    const document = { version: 1, allow: { domains: ["b.example"] }, hosts: { [name]: { sources: ["10.0.0.1"] } } };
    expect(parseDocument(document).ok).toBe(false);
  });
});

describe("GC21: networks mean one thing", () => {
  it("host bits and an IPv4 address in IPv6 clothes are refused", () => {
    expect(fails({ allow: { ips: ["192.0.2.1/24"] } })).toBe(true);
    expect(fails({ allow: { ips: ["::ffff:192.0.2.0/120"] } })).toBe(true);
  });

  it("all addresses may be denied, and then nothing is open", () => {
    const policy = validPolicy({ version: 1, allow: { ips: ["192.0.2.0/24"] }, deny: { ips: ["0.0.0.0/0", "::/0"] } });
    const decider = buildDecider(policy);
    const decision = decider.decideAddress(decider.clientOf("10.0.0.1"), "192.0.2.1", "tcp", 443);
    expect(decision).toMatchObject({ verdict: "deny", reason: "denied-explicit" });
  });

  it("of networks that lie in each other each has its own ports", () => {
    const ips = ["192.0.2.0/24", { network: "192.0.2.128/25", ports: [22] }];
    const decider = buildDecider(validPolicy({ version: 1, allow: { ips, ports: [443] } }));
    const opens = (address: string, port: number): boolean =>
      decider.decideAddress(decider.clientOf("10.0.0.1"), address, "tcp", port).verdict === "allow";
    expect([opens("192.0.2.1", 443), opens("192.0.2.1", 22)]).toEqual([true, false]);
    expect([opens("192.0.2.200", 443), opens("192.0.2.200", 22)]).toEqual([true, true]);
  });
});
