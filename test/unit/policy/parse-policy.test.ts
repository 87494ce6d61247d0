import { describe, expect, test } from "vitest";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import type { Policy } from "../../../agent/policy/policy.ts";
import { issueTexts, parseDocument, rulesOf, validPolicy } from "../../support/policy-text.ts";

const allow = (lists: object, rest: object = {}): object => ({ version: 1, allow: lists, ...rest });
const client = { sources: ["10.0.0.1"] };

describe("what lists mean", () => {
  test.each<[string, object, readonly string[]]>([
    ["a name is that name; ports are 53, 80 and 443", { domains: ["a.example"] }, ["a.example 53/tcp,80/tcp,443/tcp"]],
    ["a wildcard is what is below", { domains: ["*.a.example"], ports: [443] }, ["*.a.example 443/tcp"]],
    [
      "subdomains: each name and what is below it",
      { domains: ["b.example", "*.a.example"], ports: [443], subdomains: true },
      ["*.a.example 443/tcp", "*.b.example 443/tcp", "b.example 443/tcp"],
    ],
    ["UDP only where written", { ips: ["192.0.2.1"], ports: [443, "443/udp"] }, ["192.0.2.1/32 443/tcp,443/udp"]],
    [
      "an entry's own ports and label",
      {
        domains: [{ domain: "a.example", ports: ["22"], label: "git", owner: "me", reason: "why", ticket: "T-1" }],
        ports: [443],
      },
      ["a.example 22/tcp (git)"],
    ],
    [
      "the same name twice: the union of ports, the first label",
      {
        domains: [
          { domain: "a.example", ports: [443], label: "first" },
          { domain: "A.EXAMPLE", ports: [22], label: "second" },
        ],
      },
      ["a.example 22/tcp,443/tcp (first)"],
    ],
    [
      "names, then networks, each in one order",
      {
        domains: ["c.example", "a.example"],
        ips: ["10.1.0.0/16", "2001:db8::/32", "9.9.9.9", "10.0.0.0/8"],
        ports: [1],
      },
      [
        "a.example 1/tcp",
        "c.example 1/tcp",
        "9.9.9.9/32 1/tcp",
        "10.0.0.0/8 1/tcp",
        "10.1.0.0/16 1/tcp",
        "2001:db8::/32 1/tcp",
      ],
    ],
    [
      "a network without the addresses that nothing opens",
      { ips: ["126.0.0.0/7"], ports: [443] },
      ["126.0.0.0/8 443/tcp"],
    ],
  ])("%s", (_name, lists, expected) => expect(rulesOf(validPolicy(allow(lists)))).toEqual(expected));

  test("0.0.0.0/0 leaves out loopback, link-local, metadata and multicast", () => {
    const { groups } = validPolicy(allow({ ips: ["0.0.0.0/0", "::/0"] }));
    const networks = groups.flatMap((group) => group.networks.map(({ network }) => network as string));
    for (const hole of ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10"]) {
      expect(networks).not.toContain(hole);
    }
    expect(networks).toContain("128.0.0.0/3");
    expect(networks).toContain("2000::/3");
  });

  test("labels find their entries in any spelling", () => {
    const labels = { "A.example": "a", "*.b.example": "b", "192.0.2.7": "c", "2001:DB8:0::/32": "d" };
    const lists = { domains: ["a.EXAMPLE", "*.b.example"], ips: ["192.0.2.7/32", "2001:db8::/32"], ports: [1] };
    expect(rulesOf(validPolicy(allow(lists, { labels })))).toEqual([
      "*.b.example 1/tcp (b)",
      "a.example 1/tcp (a)",
      "192.0.2.7/32 1/tcp (c)",
      "2001:db8::/32 1/tcp (d)",
    ]);
  });
});

describe("what hosts mean", () => {
  const global = { domains: ["g.example"], ips: ["192.0.2.0/24"], ports: [443] };
  const withHost = (host: object): Policy => validPolicy(allow(global, { hosts: { h: { ...client, ...host } } }));

  test("without allow a host follows the global lists", () => {
    const policy = withHost({});
    expect(policy.hosts.map(({ name, group, sources }) => [name, group, sources])).toEqual([
      ["h", "*", ["10.0.0.1/32"]],
    ]);
    expect(policy.groups.map(({ name }) => name)).toEqual(["*"]);
  });

  test.each<[string, object, readonly string[]]>([
    ["allow stands alone, with ports of its own", { domains: ["a.example"] }, ["a.example 53/tcp,80/tcp,443/tcp"]],
    ["an empty allow is nothing", {}, []],
    [
      "inherit adds the global lists",
      { inherit: true, domains: ["a.example"], ports: [22] },
      ["a.example 22/tcp", "g.example 443/tcp", "192.0.2.0/24 443/tcp"],
    ],
    [
      "inherit unites ports",
      { inherit: true, domains: ["g.example"], ports: [22] },
      ["g.example 22/tcp,443/tcp", "192.0.2.0/24 443/tcp"],
    ],
    ["inherit: false is the default", { inherit: false, ips: ["192.0.2.1"], ports: [1] }, ["192.0.2.1/32 1/tcp"]],
  ])("%s", (_name, own, expected) => expect(rulesOf(withHost({ allow: own }), "h")).toEqual(expected));

  test("groups and hosts are sorted by name, the global group first", () => {
    const hosts = {
      b: { ...client, allow: {} },
      B: { sources: ["10.0.0.2"], allow: {} },
      "0": { sources: ["10.0.0.3"], allow: {} },
    };
    const policy = validPolicy(allow(global, { hosts }));
    expect(policy.groups.map(({ name }) => name)).toEqual(["*", "0", "B", "b"]);
    expect(policy.hosts.map(({ name }) => name)).toEqual(["0", "B", "b"]);
  });
});

describe("deny-all", () => {
  test("empties every group and keeps the lists in the file checked", () => {
    const hosts = { h: { ...client, allow: { domains: ["a.example"] } } };
    const policy = validPolicy(allow({ domains: ["g.example"] }, { mode: "deny-all", hosts }));
    expect(policy.mode).toBe("deny-all");
    expect(policy.groups.map(({ names, networks }) => [names, networks])).toEqual([
      [[], []],
      [[], []],
    ]);
    expect(issueTexts(allow({ domains: ["*"] }, { mode: "deny-all" }))).toHaveLength(1);
  });

  test("must be written where nothing is allowed", () => {
    for (const document of [{ version: 1 }, allow({}), allow({ domains: [], ips: [] }, { hosts: { h: client } })]) {
      expect(issueTexts(document).join()).toContain("the policy allows nothing");
    }
    expect(issueTexts({ version: 1, mode: "deny-all" })).toEqual([]);
  });
});

describe("modes", () => {
  const hosts = (modes: { readonly [name: string]: string | undefined }): object =>
    Object.fromEntries(
      Object.entries(modes).map(([name, mode], index) => [
        name,
        { sources: [`10.0.0.${index}`], ...(mode === undefined ? {} : { mode }) },
      ]),
    );
  const modesOf = (mode: string, of: { readonly [name: string]: string | undefined }): object => {
    const policy = validPolicy(allow({ domains: ["a.example"] }, { mode, hosts: hosts(of) }));
    return Object.fromEntries(
      policy.hosts.map(({ name, group }) => [name, [group, policy.groups.find((found) => found.name === group)?.mode]]),
    );
  };

  test("a host whose mode is another one than everyone's has a group of its own", () => {
    const written = { none: undefined, enforce: "enforce", audit: "audit", shut: "deny-all" };
    expect(modesOf("enforce", written)).toEqual({
      none: ["*", undefined],
      enforce: ["*", undefined],
      audit: ["audit", "audit"],
      shut: ["shut", "deny-all"],
    });
    expect(modesOf("audit", written)).toEqual({
      none: ["*", "audit"],
      enforce: ["enforce", undefined],
      audit: ["*", "audit"],
      shut: ["shut", "deny-all"],
    });
    expect(modesOf("deny-all", written)).toEqual({
      none: ["*", undefined],
      enforce: ["*", undefined],
      audit: ["*", undefined],
      shut: ["*", undefined],
    });
  });

  test("a host's deny-all empties it alone", () => {
    const policy = validPolicy(allow({ domains: ["a.example"] }, { hosts: hosts({ shut: "deny-all" }) }));
    expect(rulesOf(policy)).toHaveLength(1);
    expect(rulesOf(policy, "shut")).toEqual([]);
  });

  test("audit is told wherever it is written, and may allow nothing by name", () => {
    const document = { version: 1, mode: "audit", hosts: hosts({ h: "audit" }) };
    expect(issueTexts(document)).toEqual([
      expect.stringMatching(/^\/mode: audit: what the policy denies is recorded and let pass/),
      expect.stringMatching(/^\/hosts\/h\/mode: audit/),
    ]);
    expect(parseDocument(document).ok).toBe(true);
  });
});

describe("errors", () => {
  test.each<[string, unknown, readonly string[]]>([
    ["no object", [], [": a list is not an object"]],
    ["no version", {}, [': the key "version" is missing']],
    ["another version (GC13)", { version: 2 }, ["/version: 2 is not allowed here"]],
    ["an unknown key (GC12)", { version: 1, alow: {} }, ['/alow: the key "alow" is not known here']],
    ["an unknown key inside", allow({ domain: [] }), ['/allow/domain: the key "domain" is not known here']],
    [
      "__proto__",
      '{"version":1,"__proto__":{"mode":"enforce"}}',
      ['/__proto__: the key "__proto__" is not known here'],
    ],
    ["a list that is none", allow({ domains: "a.example" }), ['/allow/domains: "a.example" is not a list']],
    ["an empty list of ports", allow({ domains: ["a.example"], ports: [] }), ["/allow/ports: there is no entry"]],
    ["a wrong port", allow({ domains: ["a.example"], ports: ["x"] }), ['/allow/ports/0: "x" is no port']],
    [
      "an entry without a name",
      allow({ domains: [{ label: "x" }] }),
      ['/allow/domains/0: the key "domain" is missing'],
    ],
    [
      "answers that every name may give",
      allow({ domains: [{ domain: "a.example", answers: ["192.0.2.0/24", "0.0.0.0/0", "172.0.0.0/8"] }] }),
      [
        "/allow/domains/0/answers/0: 192.0.2.0/24 is not within a private network",
        "/allow/domains/0/answers/1: 0.0.0.0/0 is not within a private network",
        "/allow/domains/0/answers/2: 172.0.0.0/8 is not within a private network",
      ],
    ],
    [
      "answers that no name may give",
      allow({ domains: [{ domain: "a.example", answers: ["127.0.0.1", "169.254.0.0/16", "100.100.100.200", "::1"] }] }),
      [
        "/allow/domains/0/answers/0: no name may ever resolve to 127.0.0.1/32 (loopback)",
        "/allow/domains/0/answers/1: no name may ever resolve to 169.254.0.0/16 (link-local and metadata services)",
        "/allow/domains/0/answers/2: no name may ever resolve to 100.100.100.200/32 (a metadata service)",
        "/allow/domains/0/answers/3: no name may ever resolve to ::1/128 (loopback)",
      ],
    ],
    [
      "too many networks of answers in all entries of a name",
      allow({
        domains: [0, 1].map((half) => ({
          domain: "a.example",
          answers: Array.from({ length: 100 }, (_, index) => `10.${half}.${index}.0/24`),
        })),
      }),
      [
        '/allow/domains/0: "a.example" has more than 100 networks of answers in all its entries',
        '/allow/domains/1: "a.example" stands in the list since line 1',
      ],
    ],
    [
      "a label with a space",
      { version: 1, labels: { "a.example": "a b" } },
      ['/labels/a.example: "a b" is not valid here'],
    ],
    ["loopback", allow({ ips: ["127.0.0.0/8"] }), ["/allow/ips/0: 127.0.0.0/8 can never be opened (loopback)"]],
    [
      "metadata",
      allow({ ips: ["169.254.169.254"] }),
      ["/allow/ips/0: 169.254.169.254/32 can never be opened (link-local and metadata services)"],
    ],
    [
      "inherit at the top",
      allow({ domains: ["a.example"], inherit: true }),
      ["/allow/inherit: the global allow has nothing to inherit from"],
    ],
    [
      "the wrong label entry",
      allow({ domains: ["a.example"] }, { labels: { "*": "x" } }),
      ['/labels/*: "*" would allow every name'],
    ],
    [
      "one entry labelled twice",
      allow({ domains: ["a.example"] }, { labels: { "a.example": "x", "A.example": "y" } }),
      ['/labels/A.example: "A.example" is the entry labelled in line 1'],
    ],
    [
      "a source of two hosts",
      allow({ domains: ["a.example"] }, { hosts: { a: client, b: { sources: ["10.0.0.1/32"] } } }),
      ['/hosts/b/sources/0: 10.0.0.1/32 is already a source of host "a" (line 1)'],
    ],
    [
      "a source twice in a host",
      allow({ domains: ["a.example"] }, { hosts: { a: { sources: ["10.0.0.1", "10.0.0.1"] } } }),
      ["/hosts/a/sources/1: 10.0.0.1/32 is already a source of this host (line 1)"],
    ],
    [
      "a source that is no client",
      allow({ domains: ["a.example"] }, { hosts: { a: { sources: ["224.0.0.1"] } } }),
      ["/hosts/a/sources/0: 224.0.0.1/32 is never a client's address (multicast)"],
    ],
    ["a host without sources", allow({}, { hosts: { a: { sources: [] } } }), ["/hosts/a/sources: there is no entry"]],
    [
      "a host name for a shell",
      allow({}, { hosts: { 'h" accept\n': client } }),
      ["/hosts: the key contains the forbidden character U+000A"],
    ],
    ["a host name with a quote", allow({}, { hosts: { 'h"': client } }), ['/hosts/h": "h\\"" cannot stand here']],
    [
      "a host name of 64 letters",
      allow({}, { hosts: { ["h".repeat(64)]: client } }),
      [`/hosts/${"h".repeat(64)}: "${"h".repeat(64)}" cannot stand here`],
    ],
    ["a host named like the global group", allow({}, { hosts: { "*": client } }), ['/hosts/*: "*" cannot stand here']],
  ])("%s", (_name, document, expected) => {
    expect(parseDocument(document).ok).toBe(false);
    expect(issueTexts(document)).toEqual(expected);
  });

  test("all of them are told, in the order of the text, with a remedy each", () => {
    const text = '{\n"version": 1,\n"labels": {"*": "x"},\n"allow": {"ips": ["10.0.0.1/8"],\n"domains": ["*"]}}';
    const result = parseDocument(text);
    expect(result.ok ? [] : result.issues.map(({ place }) => `${place.line}:${place.column}`)).toEqual([
      "3:12",
      "4:19",
      "5:13",
    ]);
    expect(result.ok ? [""] : result.issues.map(({ remedy }) => remedy)).not.toContain("");
  });

  test("a file over its bound is not read", () => {
    const bytes = Buffer.from(JSON.stringify(allow({ domains: ["a.example"] })));
    expect(parsePolicy(bytes, "f", { maxBytes: bytes.length }).ok).toBe(true);
    expect(parsePolicy(bytes, "f", { maxBytes: bytes.length - 1 }).ok).toBe(false);
  });

  test("a short file cannot ask for more rules than memory holds", () => {
    const domains = Array.from({ length: 30_000 }, (_, index) => `n${index}.ex`);
    const hosts = Array.from({ length: 2000 }, (_, index) => [
      `h${index}`,
      { sources: [`10.0.${index >> 8}.${index & 255}`], allow: { inherit: true } },
    ]);
    const issues = issueTexts(allow({ domains }, { hosts: Object.fromEntries(hosts) }));
    expect(issues).toEqual([
      expect.stringContaining("with what hosts inherit and groups add, the policy has more than 2000000 rules"),
    ]);
  });

  test("a name written often cannot have more ports than a list", () => {
    const repeated = Array.from({ length: 5000 }, (_, index) => ({ network: "0.0.0.0/0", ports: [index + 1] }));
    const issues = issueTexts(allow({ ips: repeated }));
    expect(issues.some((text) => text.includes("has more than 1000 ports and ranges"))).toBe(true);
  });

  test("a flood of errors costs little time and tells the first hundred", () => {
    const startedAtMs = performance.now();
    const result = parsePolicy(Buffer.from(`{"version":1,"allow":{"domains":[${"1,".repeat(520_000)}1]}}`), "f");
    expect(result.ok ? [] : result.issues).toHaveLength(100);
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  });
});

describe("warnings", () => {
  test.each<[string, object, readonly string[]]>([
    ["nothing to say", allow({ domains: ["api.example.com"] }), []],
    [
      "an unused label",
      allow({ domains: ["a.example"] }, { labels: { "b.example": "x" } }),
      ['/labels/b.example: no list contains "b.example", so its label is unused'],
    ],
    [
      "a repeated name",
      allow({ domains: ["a.example", "A.example"] }),
      ['/allow/domains/1: "a.example" stands in the list since line 1'],
    ],
    [
      "a repeated network",
      allow({ ips: ["192.0.2.1", "192.0.2.1/32"] }),
      ['/allow/ips/1: "192.0.2.1/32" stands in the list since line 1'],
    ],
    [
      "every address",
      allow({ ips: ["0.0.0.0/0"] }),
      ["/allow/ips/0: 0.0.0.0/0 opens every address but loopback, link-local, multicast and metadata services"],
    ],
    [
      "a large network",
      allow({ ips: ["52.0.0.0/8"] }),
      ["/allow/ips/0: 52.0.0.0/8 is a large part of the address space"],
    ],
    ["a large private network is none", allow({ ips: ["10.0.0.0/8", "fd00::/8"] }), []],
    [
      "a zone of strangers",
      allow({ domains: ["*.github.io"] }),
      ["/allow/domains/0: anyone can register a name below github.io"],
    ],
    [
      "a zone above a zone of strangers",
      allow({ domains: ["*.core.windows.net"] }),
      ["/allow/domains/0: anyone can register a name below core.windows.net"],
    ],
    [
      "a shared address",
      allow({ domains: ["d1.cloudfront.net"] }),
      [
        "/allow/domains/0: d1.cloudfront.net shares its addresses with other sites, and an allowed name opens its addresses",
      ],
    ],
    [
      "everyone's files",
      allow({ domains: ["storage.googleapis.com"] }),
      ["/allow/domains/0: storage.googleapis.com serves everyone's files"],
    ],
    [
      "a resolver over HTTPS",
      allow({ domains: ["dns.google"] }),
      ["/allow/domains/0: dns.google answers DNS over HTTPS, with which clients resolve around the gateway"],
    ],
    [
      "DNS over TLS",
      allow({ domains: ["a.example"], ports: [443, 853] }),
      ["/allow/ports/1: 853/tcp opens DNS over TLS or QUIC, which no gate sees"],
    ],
    [
      "every client as a host",
      allow({ domains: ["a.example"] }, { hosts: { all: { sources: ["0.0.0.0/0"] } } }),
      ["/hosts/all/sources/0: 0.0.0.0/0 makes this host every client"],
    ],
  ])("%s", (_name, document, expected) => {
    expect(parseDocument(document).ok).toBe(true);
    expect(issueTexts(document)).toEqual(expected);
  });
});

describe("the proxy keys that this program does not build", () => {
  test("what changes nothing is accepted", () => {
    const proxy = { mode: "disabled", backend: "none", mtls: { enabled: false } };
    const document = allow(
      { domains: ["a.example"] },
      { mode: "enforce", proxy, hosts: { h: { ...client, mode: "enforce", proxy } } },
    );
    expect(issueTexts(document)).toEqual([]);
  });
});
