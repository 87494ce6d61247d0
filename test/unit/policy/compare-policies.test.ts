import { expect, test } from "vitest";
import { comparePolicies, countChanges, type PolicyChanges } from "../../../agent/policy/compare-policies.ts";
import { describeChanges } from "../../../agent/policy/describe-changes.ts";
import type { Cidr, DomainName, Policy, PortRange } from "../../../agent/policy/policy.ts";
import { validPolicy } from "../../support/policy-text.ts";

const place = { file: "policy.json", line: 1, column: 1, pointer: "" };
const ports = (text: string): readonly PortRange[] =>
  text.split(" ").map((part) => {
    const [range = "", protocol] = part.split("/");
    const [first = "", last = first] = range.split("-");
    return { protocol: protocol === "udp" ? "udp" : "tcp", first: Number(first), last: Number(last) };
  });

/** `*: api.example.com 443; host: 10.0.0.0/8 53/udp` → rules of groups, and hosts by name. */
function policy(rules: string, hosts: { readonly [name: string]: string } = {}): Policy {
  const rows = rules === "" ? [] : rules.split("; ").map((rule) => /^(.+): (\S+) (.+)$/.exec(rule) ?? []);
  const names = [...new Set(["*", ...rows.map(([, group = ""]) => group)])].sort();
  return {
    version: 1,
    mode: "enforce",
    hosts: Object.entries(hosts).map(([name, source]) => ({
      name,
      sources: [source as Cidr],
      group: "*",
      limits: null,
      place,
    })),
    limits: null,
    groups: names.map((name) => {
      const mine = rows.filter(([, group]) => group === name);
      return {
        name,
        isProxied: false,
        place,
        names: mine
          .filter(([, , entry = ""]) => !entry.includes("/"))
          .map(([, , entry = "", list = ""]) => ({
            pattern: {
              kind: entry.startsWith("*.") ? ("subdomains" as const) : ("exact" as const),
              name: entry.replace("*.", "") as DomainName,
            },
            ports: ports(list),
            label: null,
            place,
          })),
        networks: mine
          .filter(([, , entry = ""]) => entry.includes("/"))
          .map(([, , entry = "", list = ""]) => ({ network: entry as Cidr, ports: ports(list), label: null, place })),
      };
    }),
  };
}

const texts = (changes: PolicyChanges): { [list: string]: unknown } => {
  const shown: { [list: string]: unknown } = {};
  for (const [list, entries] of Object.entries(changes)) {
    if (!Array.isArray(entries)) {
      if (entries !== null) shown[list] = entries;
    } else if (entries.length > 0) {
      shown[list] = entries.map((entry) =>
        typeof entry === "string" ? entry : `${entry.group}: ${entry.entry} ${entry.ports.join(" ")}`,
      );
    }
  }
  return shown;
};

test.each<[string, Policy | null, Policy, object]>([
  ["nothing changed", policy("*: a.com 443"), policy("*: a.com 443"), {}],
  [
    "the first policy adds everything",
    null,
    policy("*: a.com 443; *: 10.0.0.0/8 22"),
    { domainsAdded: ["*: a.com 443/tcp"], networksAdded: ["*: 10.0.0.0/8 22/tcp"] },
  ],
  [
    "an exact name and its subdomains are two entries",
    policy("*: a.com 443"),
    policy("*: *.a.com 443"),
    { domainsAdded: ["*: *.a.com 443/tcp"], domainsRemoved: ["*: a.com 443/tcp"] },
  ],
  [
    "the same name in another group is another entry",
    policy("*: a.com 443"),
    policy("*: a.com 443; ci: a.com 443"),
    { domainsAdded: ["ci: a.com 443/tcp"] },
  ],
  [
    "two rules for one name are one entry with all ports",
    policy("*: a.com 443; *: a.com 80"),
    policy("*: a.com 80 443"),
    {},
  ],
  [
    "ports that an entry gains and loses",
    policy("*: a.com 443 8000-8100"),
    policy("*: a.com 443/udp 443 8050-8200"),
    { portsAdded: ["*: a.com 8101-8200/tcp 443/udp"], portsRemoved: ["*: a.com 8000-8049/tcp"] },
  ],
  [
    "hosts that come, go and move",
    policy("", { a: "10.0.0.1/32", b: "10.0.0.2/32" }),
    policy("", { b: "10.0.0.3/32", c: "10.0.0.1/32" }),
    { hostsAdded: ["c"], hostsRemoved: ["a"], hostsChanged: ["b"] },
  ],
  ["the mode", policy(""), { ...policy(""), mode: "deny-all" }, { mode: "deny-all" }],
])("%s", (_, before, after, want) => {
  expect(texts(comparePolicies(before, after))).toEqual(want);
});

test("lists are sorted by group and entry whatever the order of the rules is", () => {
  const one = policy("b: z.com 1; b: a.com 1; a: m.com 1");
  const two = {
    ...one,
    groups: one.groups.toReversed().map((group) => ({ ...group, names: group.names.toReversed() })),
  };
  const want = ["a: m.com 1/tcp", "b: a.com 1/tcp", "b: z.com 1/tcp"];
  expect(texts(comparePolicies(null, one))["domainsAdded"]).toEqual(want);
  expect(comparePolicies(null, two)).toEqual(comparePolicies(null, one));
});

test("counts are the lengths of the lists, of ports the number of ranges", () => {
  const changes = comparePolicies(policy("*: a.com 443; *: b.com 1"), policy("*: a.com 443 80 53/udp; *: c.com 1"));
  expect(countChanges(changes)).toMatchObject({ domainsAdded: 1, domainsRemoved: 1, portsAdded: 2, portsRemoved: 0 });
});

test("denials and private answers are told, each with whom it is for", () => {
  const lists = { domains: ["a.example"], ports: [443] };
  const before = validPolicy({ version: 1, allow: lists, deny: { domains: ["old.example"] } });
  const after = validPolicy({
    version: 1,
    allow: { ...lists, domains: [{ domain: "a.example", answers: ["10.0.0.0/8"] }] },
    deny: { domains: ["*.new.example"], ips: ["10.0.0.1"] },
    hosts: { everyone: { sources: ["10.0.0.2"], deny: { ips: ["192.0.2.0/24"] } } },
  });
  const changes = comparePolicies(before, after);
  expect(changes.rulesRemoved).toEqual(["deny for everyone: old.example"]);
  expect(changes.rulesAdded).toEqual([
    "deny for everyone: *.new.example",
    "deny for everyone: 10.0.0.1/32",
    "deny for host everyone: 192.0.2.0/24",
    "private answers for everyone without own rules: a.example in 10.0.0.0/8",
    "private answers for host everyone: a.example in 10.0.0.0/8",
  ]);
  expect(describeChanges(changes)).toContain("- deny for everyone: old.example");
  expect(countChanges(changes)).toMatchObject({ rulesAdded: 5, rulesRemoved: 1 });
});

test("a host that gets rules of its own, or loses them, is compared with what it had", () => {
  const document = (host: object): object => ({
    version: 1,
    allow: { domains: ["a.example"], ports: [443] },
    hosts: { h: { sources: ["10.0.0.1"], ...host } },
  });
  const [plain, denied] = [validPolicy(document({})), validPolicy(document({ deny: { domains: ["b.example"] } }))];
  for (const [from, to] of [
    [plain, denied],
    [denied, plain],
  ] as const) {
    const { domainsAdded, domainsRemoved, hostsChanged } = comparePolicies(from, to);
    expect([domainsAdded, domainsRemoved, hostsChanged]).toEqual([[], [], ["h"]]);
  }
});
