import { describe, expect, test } from "vitest";
import { buildDecider, type Decision } from "../../../agent/policy/decide.ts";
import { patternText } from "../../../agent/policy/pattern-text.ts";
import type { Protocol } from "../../../agent/policy/policy.ts";
import { portText } from "../../../agent/policy/ports.ts";
import { validPolicy } from "../../support/policy-text.ts";

const decider = buildDecider(
  validPolicy({
    version: 1,
    allow: {
      domains: [
        "exact.example.com",
        "*.wild.example.com",
        { domain: "*.deep.wild.example.com", ports: [8443], label: "deep" },
        { domain: "api.deep.wild.example.com", ports: ["443/udp"] },
      ],
      ips: [{ network: "192.0.2.0/24", label: "wide" }, { network: "192.0.2.128/25", ports: [22] }, "2001:db8:1::/48"],
      ports: [443],
    },
    labels: { "*.wild.example.com": "wild" },
    hosts: {
      lone: { sources: ["10.0.0.0/24"], allow: { domains: ["lone.example.com"], ips: ["198.51.100.7"], ports: [80] } },
      nested: { sources: ["10.0.0.8/29", "2001:db8:f::/64"] },
      single: { sources: ["10.0.0.9"], allow: {} },
    },
  }),
);

const show = (decision: Decision): string => {
  if (decision.verdict === "deny")
    return `deny ${decision.reason}${decision.nearMiss === null ? "" : `: ${decision.nearMiss}`}`;
  const { rule, label, ports } = decision;
  if (rule === null) return `allow under audit: ${decision.wouldDeny?.reason}`;
  const what = "pattern" in rule ? patternText(rule.pattern) : rule.network;
  return `allow by ${what} on ${ports.map(portText).join(",")}${label === null ? "" : ` (${label})`}`;
};
const who = { lone: "10.0.0.1", nested: "10.0.0.10", single: "10.0.0.9", nobody: "10.9.9.9" };
type Who = keyof typeof who;

test.each([
  ["10.0.0.1", "lone"],
  ["10.0.0.7", "lone"],
  ["10.0.0.8", "nested"],
  ["10.0.0.9", "single"],
  ["10.0.0.15", "nested"],
  ["10.0.0.16", "lone"],
  ["10.0.0.255", "lone"],
  ["10.0.1.0", null],
  ["9.255.255.255", null],
  ["0.0.0.0", null],
  ["255.255.255.255", null],
  ["2001:db8:f::1", "nested"],
  ["2001:db8:f:1::1", null],
  ["::ffff:10.0.0.9", "single"],
  ["::a00:9", null],
])("%s is the client %s: the most specific source wins", (address, expected) => {
  expect(decider.clientOf(address).host?.name ?? null).toBe(expected);
});

test("the same host is the same client, so that callers can key by it", () => {
  expect(decider.clientOf("10.0.0.1")).toBe(decider.clientOf("10.0.0.2"));
  expect(decider.clientOf("10.9.9.9")).toBe(decider.clientOf("10.9.9.8"));
});

test.each(["", "10.0.0", "fe80::1%eth0", "example.com"])("%j is no address", (text) => {
  expect(() => decider.clientOf(text)).toThrow(RangeError);
});

describe("names", () => {
  test.each<[Who, string, string]>([
    ["nobody", "exact.example.com", "allow by exact.example.com on 443/tcp"],
    ["nobody", "a.exact.example.com", "deny dns-not-allowed: exact.example.com is listed, but not its subdomains"],
    ["nobody", "a.b.exact.example.com", "deny dns-not-allowed: exact.example.com is listed, but not its subdomains"],
    ["nobody", "notexact.example.com", "deny dns-not-allowed"],
    ["nobody", "a.wild.example.com", "allow by *.wild.example.com on 443/tcp (wild)"],
    ["nobody", "a.b.c.wild.example.com", "allow by *.wild.example.com on 443/tcp (wild)"],
    [
      "nobody",
      "wild.example.com",
      "deny dns-not-allowed: *.wild.example.com is listed: the subdomains of wild.example.com, not wild.example.com itself",
    ],
    ["nobody", "deep.wild.example.com", "allow by *.wild.example.com on 443/tcp (wild)"],
    ["nobody", "x.deep.wild.example.com", "allow by *.deep.wild.example.com on 443/tcp,8443/tcp (deep)"],
    ["nobody", "api.deep.wild.example.com", "allow by api.deep.wild.example.com on 443/tcp,8443/tcp,443/udp (deep)"],
    ["nobody", "lone.example.com", "deny dns-not-allowed: lone.example.com is allowed for host lone"],
    ["nobody", "com", "deny dns-not-allowed"],
    ["nobody", "", "deny dns-not-allowed"],
    ["nested", "exact.example.com", "allow by exact.example.com on 443/tcp"],
    ["lone", "lone.example.com", "allow by lone.example.com on 80/tcp"],
    [
      "lone",
      "exact.example.com",
      "deny dns-not-allowed: exact.example.com is allowed for clients without an allow list of their own",
    ],
    [
      "lone",
      "a.wild.example.com",
      "deny dns-not-allowed: *.wild.example.com is allowed for clients without an allow list of their own",
    ],
    ["single", "lone.example.com", "deny dns-not-allowed: lone.example.com is allowed for host lone"],
  ])("%s asks for %j: %s", (client, name, expected) => {
    expect(show(decider.decideName(decider.clientOf(who[client]), name))).toBe(expected);
  });

  test.each<[string, Protocol, number, string]>([
    ["exact.example.com", "tcp", 443, "allow by exact.example.com on 443/tcp"],
    ["exact.example.com", "udp", 443, "deny port-not-allowed: exact.example.com is allowed on 443/tcp"],
    ["exact.example.com", "tcp", 80, "deny port-not-allowed: exact.example.com is allowed on 443/tcp"],
    ["x.deep.wild.example.com", "tcp", 443, "allow by *.deep.wild.example.com on 443/tcp,8443/tcp (deep)"],
    ["api.deep.wild.example.com", "udp", 443, "allow by api.deep.wild.example.com on 443/tcp,8443/tcp,443/udp (deep)"],
    ["evil.example", "tcp", 443, "deny dns-not-allowed"],
  ])("a flow to %s on %s %i: %s", (name, protocol, port, expected) => {
    expect(show(decider.decideNameFlow(decider.clientOf(who.nobody), name, protocol, port))).toBe(expected);
  });
});

describe("addresses", () => {
  test.each<[Who, string, Protocol, number, string]>([
    ["nobody", "192.0.2.1", "tcp", 443, "allow by 192.0.2.0/24 on 443/tcp (wide)"],
    ["nobody", "192.0.2.1", "tcp", 22, "deny port-not-allowed: 192.0.2.1 is allowed on 443/tcp"],
    ["nobody", "192.0.2.129", "tcp", 22, "allow by 192.0.2.128/25 on 22/tcp,443/tcp (wide)"],
    ["nobody", "192.0.2.255", "tcp", 443, "allow by 192.0.2.128/25 on 22/tcp,443/tcp (wide)"],
    ["nobody", "192.0.3.0", "tcp", 443, "deny ip-not-allowed"],
    ["nobody", "192.0.1.255", "tcp", 443, "deny ip-not-allowed"],
    ["nobody", "2001:db8:1:ffff::1", "tcp", 443, "allow by 2001:db8:1::/48 on 443/tcp"],
    ["nobody", "2001:db8:2::", "tcp", 443, "deny ip-not-allowed"],
    ["nobody", "198.51.100.7", "tcp", 80, "deny ip-not-allowed: 198.51.100.7/32 is allowed for host lone"],
    ["lone", "198.51.100.7", "tcp", 80, "allow by 198.51.100.7/32 on 80/tcp"],
    ["lone", "::ffff:198.51.100.7", "tcp", 80, "allow by 198.51.100.7/32 on 80/tcp"],
    [
      "lone",
      "192.0.2.1",
      "tcp",
      80,
      "deny ip-not-allowed: 192.0.2.0/24 is allowed for clients without an allow list of their own",
    ],
  ])("%s to %s %s %i: %s", (client, address, protocol, port, expected) => {
    expect(show(decider.decideAddress(decider.clientOf(who[client]), address, protocol, port))).toBe(expected);
  });

  test("an address is covered on any port at all", () => {
    const client = decider.clientOf(who.nobody);
    expect(["192.0.2.200", "192.0.3.1", "2001:db8:1::1"].map((text) => decider.coversAddress(client, text))).toEqual([
      true,
      false,
      true,
    ]);
  });

  test("no network of any width covers loopback, link-local and metadata addresses", () => {
    const open = buildDecider(validPolicy({ version: 1, allow: { ips: ["0.0.0.0/0", "::/0"] } }));
    const client = open.clientOf("10.0.0.1");
    const covered = (text: string): boolean => open.coversAddress(client, text);
    const special = [
      "127.0.0.1",
      "169.254.169.254",
      "0.0.0.0",
      "224.0.0.1",
      "255.255.255.255",
      "::1",
      "::",
      "fe80::1",
      "ff02::1",
    ];
    expect(special.filter(covered)).toEqual([]);
    expect(["::ffff:127.0.0.1", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"].filter(covered)).toEqual([]);
    expect(["1.1.1.1", "223.255.255.255", "126.255.255.255", "128.0.0.0", "2001:db8::", "fd00::1"].every(covered)).toBe(
      true,
    );
  });
});

describe("private answers", () => {
  const decider = buildDecider(
    validPolicy({
      version: 1,
      allow: {
        domains: [
          { domain: "a.in.example", answers: ["10.1.0.0/16", "fd00::/8"] },
          { domain: "*.in.example", answers: ["10.1.0.0/16", "10.2.0.0/16"] },
          "out.example",
        ],
        ips: ["192.168.0.0/24"],
        ports: [443],
      },
    }),
  );
  const client = decider.clientOf("10.0.0.1");
  const answersOf = (name: string): Extract<Decision, { verdict: "allow" }> => {
    const decision = decider.decideName(client, name);
    if (decision.verdict === "deny") throw new Error(`${name} is denied`);
    return decision;
  };

  test("are those of every rule that matches, once, in one order", () => {
    expect(answersOf("a.in.example").answers).toEqual(["10.1.0.0/16", "10.2.0.0/16", "fd00::/8"]);
    expect(answersOf("b.in.example").answers).toEqual(["10.1.0.0/16", "10.2.0.0/16"]);
    expect(answersOf("out.example").answers).toEqual([]);
  });

  test.each([
    ["a.in.example", "10.2.255.255", true],
    ["a.in.example", "fd00::1", true],
    ["b.in.example", "fd00::1", false],
    ["b.in.example", "10.3.0.0", false],
    ["out.example", "10.1.0.1", false],
    ["out.example", "192.168.0.7", true],
    ["a.in.example", "192.168.1.7", false],
  ])("%s may resolve to %s: %s", (name, address, expected) => {
    expect(decider.mayAnswer(answersOf(name), address)).toBe(expected);
  });
});

describe("deny wins, however specific the allow is", () => {
  const decider = buildDecider(
    validPolicy({
      version: 1,
      allow: {
        domains: ["*.wild.example", "evil.wild.example", "a.tree.wild.example", "api.example"],
        ips: ["10.0.0.0/8", "10.1.1.1", "2001:db8::/32"],
        ports: [443],
      },
      deny: {
        domains: [{ domain: "evil.wild.example", owner: "soc", reason: "phishing" }, "*.tree.wild.example"],
        ips: ["10.1.0.0/16", "2001:db8:1::/48"],
      },
      hosts: {
        own: { sources: ["10.9.0.1"], deny: { domains: ["api.example"], ips: ["10.2.0.0/16"] } },
        alone: { sources: ["10.9.0.2"], allow: { domains: ["evil.wild.example"], ips: ["10.1.1.0/24"], ports: [443] } },
      },
    }),
  );
  const of = { anyone: "192.0.2.1", own: "10.9.0.1", alone: "10.9.0.2" } as const;

  test.each<[keyof typeof of, string, string]>([
    ["anyone", "evil.wild.example", "denied-explicit"],
    ["anyone", "below.evil.wild.example", "allow"],
    ["anyone", "a.tree.wild.example", "denied-explicit"],
    ["anyone", "tree.wild.example", "allow"],
    ["anyone", "api.example", "allow"],
    ["anyone", "nothing.example", "dns-not-allowed"],
    ["own", "api.example", "denied-explicit"],
    ["own", "evil.wild.example", "denied-explicit"],
    ["own", "x.wild.example", "allow"],
    ["alone", "evil.wild.example", "denied-explicit"],
  ])("%s, %s: %s", (from, name, expected) => {
    const decision = decider.decideName(decider.clientOf(of[from]), name);
    expect(decision.verdict === "deny" ? decision.reason : "allow").toBe(expected);
    expect(decider.deniesName(decider.clientOf(of[from]), name) !== null).toBe(expected === "denied-explicit");
  });

  test.each<[keyof typeof of, string, string]>([
    ["anyone", "10.1.1.1", "denied-explicit"],
    ["anyone", "10.2.0.1", "allow"],
    ["anyone", "10.0.255.255", "allow"],
    ["anyone", "2001:db8:1::5", "denied-explicit"],
    ["anyone", "2001:db8:2::5", "allow"],
    ["anyone", "::ffff:10.1.0.9", "denied-explicit"],
    ["anyone", "192.0.2.1", "ip-not-allowed"],
    ["own", "10.2.0.1", "denied-explicit"],
    ["own", "10.1.0.1", "denied-explicit"],
    ["own", "10.3.0.1", "allow"],
    ["alone", "10.1.1.1", "denied-explicit"],
  ])("%s, %s: %s", (from, address, expected) => {
    const client = decider.clientOf(of[from]);
    const decision = decider.decideAddress(client, address, "tcp", 443);
    expect(decision.verdict === "deny" ? decision.reason : "allow").toBe(expected);
    expect(decider.coversAddress(client, address)).toBe(expected === "allow");
    expect(decider.deniesAddress(client, address) !== null).toBe(expected === "denied-explicit");
  });

  test("the decision names the entry, and for people where it stands", () => {
    const decision = decider.decideNameFlow(decider.clientOf(of.anyone), "evil.wild.example", "tcp", 22);
    if (decision.verdict === "allow") throw new Error("allowed");
    expect(decision.nearMiss).toBe("deny lists evil.wild.example");
    expect(decision.nearRule?.notes).toEqual({ owner: "soc", reason: "phishing" });
  });
});

describe("audit", () => {
  const decider = buildDecider(
    validPolicy({
      version: 1,
      mode: "audit",
      allow: { domains: ["a.example"], ips: ["10.1.0.0/16"], ports: [443] },
      deny: { domains: ["evil.example"], ips: ["198.51.100.0/24", "10.1.1.0/24"] },
      hosts: {
        strict: { sources: ["10.0.0.1"], mode: "enforce" },
        own: { sources: ["10.0.0.2"], mode: "audit", allow: { domains: ["b.example"], ports: [22] } },
        shut: { sources: ["10.0.0.3"], mode: "deny-all", allow: { domains: ["a.example"] } },
        follows: { sources: ["10.0.0.4"], allow: { domains: ["b.example"], ports: [22] } },
      },
    }),
  );
  const of = { anyone: "192.0.2.1", strict: "10.0.0.1", own: "10.0.0.2", shut: "10.0.0.3", follows: "10.0.0.4" };

  test.each<[keyof typeof of, string, string]>([
    ["anyone", "a.example", "allow by a.example on 443/tcp"],
    ["anyone", "other.example", "allow under audit: dns-not-allowed"],
    ["anyone", "evil.example", "allow under audit: denied-explicit"],
    ["anyone", "denied.canary.clawgress.invalid", "deny dns-not-allowed"],
    ["strict", "a.example", "allow by a.example on 443/tcp"],
    ["strict", "other.example", "deny dns-not-allowed"],
    ["own", "a.example", "allow under audit: dns-not-allowed"],
    ["follows", "a.example", "allow under audit: dns-not-allowed"],
    ["shut", "a.example", "deny deny-all"],
  ])("%s, %s: %s", (from, name, expected) => {
    expect(show(decider.decideName(decider.clientOf(of[from]), name))).toBe(expected);
  });

  test.each<[keyof typeof of, string, number, string]>([
    ["anyone", "a.example", 443, "allow by a.example on 443/tcp"],
    ["anyone", "a.example", 22, "allow under audit: port-not-allowed"],
    ["strict", "a.example", 22, "deny port-not-allowed: a.example is allowed on 443/tcp"],
  ])("%s, %s:%i: %s", (from, name, port, expected) => {
    expect(show(decider.decideNameFlow(decider.clientOf(of[from]), name, "tcp", port))).toBe(expected);
  });

  test.each<[keyof typeof of, string, string]>([
    ["anyone", "10.1.0.1", "allow by 10.1.0.0/16 on 443/tcp"],
    ["anyone", "203.0.113.1", "allow under audit: ip-not-allowed"],
    ["anyone", "198.51.100.1", "allow under audit: denied-explicit"],
    ["anyone", "2001:db8::1", "allow under audit: ip-not-allowed"],
    ["anyone", "10.2.0.1", "deny ip-not-allowed"],
    ["anyone", "10.1.1.1", "deny denied-explicit: deny lists 10.1.1.0/24"],
    ["anyone", "169.254.169.254", "deny ip-not-allowed"],
    ["anyone", "127.0.0.1", "deny ip-not-allowed"],
    ["anyone", "64:ff9b::a00:1", "deny ip-not-allowed"],
    ["anyone", "2002:a00:1::1", "deny ip-not-allowed"],
    ["strict", "203.0.113.1", "deny ip-not-allowed"],
    ["shut", "10.1.0.1", "deny deny-all"],
  ])("%s, %s: %s", (from, address, expected) => {
    const client = decider.clientOf(of[from]);
    expect(show(decider.decideAddress(client, address, "tcp", 443))).toBe(expected);
    expect(decider.coversAddress(client, address)).toBe(expected.startsWith("allow by"));
  });

  test("deny-all for everyone is audited for nobody", () => {
    const closed = buildDecider(
      validPolicy({ version: 1, mode: "deny-all", hosts: { h: { sources: ["10.0.0.1"], mode: "audit" } } }),
    );
    expect(show(closed.decideName(closed.clientOf("10.0.0.1"), "a.example"))).toBe("deny deny-all");
  });
});

test("deny-all is the reason for everything", () => {
  const closed = buildDecider(
    validPolicy({ version: 1, mode: "deny-all", allow: { domains: ["a.example"], ips: ["192.0.2.1"] } }),
  );
  const client = closed.clientOf("10.0.0.1");
  expect(show(closed.decideName(client, "a.example"))).toBe("deny deny-all");
  expect(show(closed.decideNameFlow(client, "a.example", "tcp", 443))).toBe("deny deny-all");
  expect(show(closed.decideAddress(client, "192.0.2.1", "tcp", 443))).toBe("deny deny-all");
  expect(closed.coversAddress(client, "192.0.2.1")).toBe(false);
});

test("a host whose group is missing is refused when the decider is built, not when it is asked", () => {
  const policy = validPolicy({
    version: 1,
    allow: { domains: ["a.example"] },
    hosts: { h: { sources: ["10.0.0.1"], allow: {} } },
  });
  expect(() => buildDecider({ ...policy, groups: policy.groups.filter(({ name }) => name === "*") })).toThrow(
    RangeError,
  );
});
