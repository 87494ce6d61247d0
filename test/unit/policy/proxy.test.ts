import { describe, expect, test } from "vitest";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { pathTo } from "../../../agent/policy/explain-flow.ts";
import { addressView, needsProxy } from "../../../agent/policy/proxied.ts";
import { issueTexts, parseDocument, validPolicy } from "../../support/policy-text.ts";

const sni = { mode: "sni-allowlist" };
const client = { sources: ["10.0.0.1"] };
const allow = { domains: ["a.example", "b.example"], ips: ["192.0.2.0/24"] };
const document = (rest: object): object => ({ version: 1, allow, ...rest });

/** What a client may do: `tls name`, `http name`, or a port of a name or network by its address. */
function waysOf(source: object, address: string): readonly string[] {
  const decider = buildDecider(validPolicy(source));
  const from = decider.clientOf(address);
  const ports = [53, 80, 443] as const;
  const names = ["a.example", "b.example", "c.example", "x.c.example"].flatMap((name) =>
    ports.flatMap((port) => {
      const target = { name, address: null, protocol: "tcp" as const, port };
      if (decider.decideNameFlow(from, name, "tcp", port).verdict === "deny") return [];
      return [`${name}:${port} by ${pathTo(from, target)}`];
    }),
  );
  const network = ports.filter((port) => decider.decideAddress(from, "192.0.2.1", "tcp", port).verdict === "allow");
  return [...names, ...(network.length === 0 ? [] : [`network on ${network.join(",")}`])];
}

const byAddress = (name: string): readonly string[] => [53, 80, 443].map((port) => `${name}:${port} by address`);
const proxied = (name: string): readonly string[] => [
  `${name}:53 by address`,
  `${name}:80 by proxy`,
  `${name}:443 by proxy`,
];

describe("what proxy means to a client in no host entry", () => {
  test.each<[string, object, readonly string[]]>([
    [
      "without it, everything goes by address",
      {},
      [...byAddress("a.example"), ...byAddress("b.example"), "network on 53,80,443"],
    ],
    [
      "disabled is the same",
      { proxy: { mode: "disabled" } },
      [...byAddress("a.example"), ...byAddress("b.example"), "network on 53,80,443"],
    ],
    [
      "without a list, TLS goes to the names of allow",
      { proxy: sni },
      [...proxied("a.example"), ...proxied("b.example"), "network on 53,80"],
    ],
    [
      "a list takes 443 from the other names, and adds names for 443 alone",
      { proxy: { ...sni, domains: ["b.example", "*.c.example"] } },
      [
        "a.example:53 by address",
        "a.example:80 by proxy",
        ...proxied("b.example"),
        "x.c.example:443 by proxy",
        "network on 53,80",
      ],
    ],
    [
      "the backend haproxy is what SNI mode has anyway",
      { proxy: { ...sni, backend: "haproxy" } },
      [...proxied("a.example"), ...proxied("b.example"), "network on 53,80"],
    ],
  ])("%s", (_title, rest, ways) => {
    expect(waysOf(document(rest), "10.9.9.9")).toEqual(ways);
  });
});

describe("what proxy means to a host", () => {
  const own = { domains: ["c.example"] };
  test.each<[string, object, readonly string[]]>([
    [
      "without anything it follows the global rules",
      { proxy: { ...sni, domains: ["c.example"] }, hosts: { h: client } },
      [
        "a.example:53 by address",
        "a.example:80 by proxy",
        "b.example:53 by address",
        "b.example:80 by proxy",
        "c.example:443 by proxy",
        "network on 53,80",
      ],
    ],
    [
      "its own allow stands alone, in the global mode, without the global list",
      { proxy: { ...sni, domains: ["a.example"] }, hosts: { h: { ...client, allow: own } } },
      proxied("c.example"),
    ],
    [
      "it may leave SNI mode",
      { proxy: sni, hosts: { h: { ...client, allow: own, proxy: { mode: "disabled" } } } },
      byAddress("c.example"),
    ],
    ["it may enter it alone", { hosts: { h: { ...client, allow: own, proxy: sni } } }, proxied("c.example")],
    [
      "a mode of its own with the global rules and the global list",
      { proxy: { mode: "disabled", domains: ["a.example"] }, hosts: { h: { ...client, proxy: sni } } },
      [...proxied("a.example"), "b.example:53 by address", "b.example:80 by proxy", "network on 53,80"],
    ],
    [
      "a list of its own replaces the global one",
      { proxy: { ...sni, domains: ["a.example"] }, hosts: { h: { ...client, proxy: { domains: ["b.example"] } } } },
      ["a.example:53 by address", "a.example:80 by proxy", ...proxied("b.example"), "network on 53,80"],
    ],
    [
      "what it inherits keeps the global list",
      { proxy: { ...sni, domains: ["a.example"] }, hosts: { h: { ...client, allow: { ...own, inherit: true } } } },
      [
        ...proxied("a.example"),
        "b.example:53 by address",
        "b.example:80 by proxy",
        ...proxied("c.example"),
        "network on 53,80",
      ],
    ],
    [
      "a list of its own holds for what it inherits too",
      {
        proxy: { ...sni, domains: ["a.example"] },
        hosts: { h: { ...client, allow: { ...own, inherit: true }, proxy: { domains: ["b.example"] } } },
      },
      [
        "a.example:53 by address",
        "a.example:80 by proxy",
        ...proxied("b.example"),
        "c.example:53 by address",
        "c.example:80 by proxy",
        "network on 53,80",
      ],
    ],
  ])("%s", (_title, rest, ways) => {
    expect(waysOf(document(rest), "10.0.0.1")).toEqual(ways);
  });

  test("a mode that changes nothing makes no rules of its own", () => {
    const { hosts } = validPolicy(document({ proxy: sni, hosts: { h: { ...client, proxy: sni } } }));
    expect(hosts).toMatchObject([{ name: "h", group: "*" }]);
  });
});

describe("ranges of ports round 443 and 80", () => {
  const ports = { ports: ["79-81", "440-450", "443/udp", "400-500/udp"] };
  const policy = validPolicy({
    version: 1,
    allow: { domains: ["a.example"], ips: ["192.0.2.0/24"], ...ports },
    proxy: sni,
  });
  const texts = (list: readonly { readonly first: number; readonly last: number; readonly protocol: string }[]) =>
    list.map(({ first, last, protocol }) => `${first}-${last}/${protocol}`);
  test("no network opens 443, and no UDP does", () => {
    const [group] = policy.groups;
    expect(texts(group?.networks[0]?.ports ?? [])).toEqual([
      "79-81/tcp",
      "440-442/tcp",
      "444-450/tcp",
      "400-442/udp",
      "444-500/udp",
    ]);
    expect(texts(group?.names[0]?.ports ?? [])).toEqual(["79-81/tcp", "440-450/tcp", "400-442/udp", "444-500/udp"]);
  });
  test("what opens addresses of a name has neither 443 nor 80", () => {
    const [group] = addressView(policy).groups;
    expect(texts(group?.names[0]?.ports ?? [])).toEqual([
      "79-79/tcp",
      "81-81/tcp",
      "440-442/tcp",
      "444-450/tcp",
      "400-442/udp",
      "444-500/udp",
    ]);
    expect(group?.networks).toEqual(policy.groups[0]?.networks);
  });
});

test.each<[string, object, boolean]>([
  ["nobody is in SNI mode", {}, false],
  ["everybody is", { proxy: sni }, true],
  ["one host is", { hosts: { h: { ...client, proxy: sni } } }, true],
  ["deny-all", { mode: "deny-all", proxy: sni }, false],
])("the proxy is needed or not: %s", (_title, rest, needed) => {
  expect(needsProxy(validPolicy(document(rest)))).toBe(needed);
});

describe("what people are told", () => {
  test.each<[string, object, readonly string[]]>([
    [
      "a name that SNI mode closes",
      {
        version: 1,
        allow: { domains: ["a.example", "b.example"], ports: [443] },
        proxy: { ...sni, domains: ["b.example"] },
      },
      ["/allow/domains/0: a.example opens nothing: in SNI mode 443 goes to the names of the proxy's list"],
    ],
    [
      "a network that SNI mode closes",
      { version: 1, allow: { domains: ["a.example"], ips: ["192.0.2.0/24"], ports: [443] }, proxy: sni },
      ["/allow/ips/0: 192.0.2.0/24 opens nothing: in SNI mode no address opens port 443"],
    ],
    [
      "QUIC",
      { version: 1, allow: { domains: ["a.example"], ports: [443, "443/udp"] }, proxy: sni },
      ["/allow/domains/0: 443/udp stays closed in SNI mode: nobody sees the names in QUIC"],
    ],
    [
      "a backend that cannot do it",
      document({ proxy: { ...sni, backend: "none" } }),
      ['/proxy/backend: no packet filter sees a server name, so in SNI mode the backend is "haproxy"'],
    ],
    [
      "a list without effect",
      document({ proxy: { domains: ["a.example"] } }),
      ["/proxy/domains: the list has no effect while SNI mode is off"],
    ],
    [
      "a host's list without effect",
      document({ hosts: { h: { ...client, proxy: { domains: ["a.example"] } } } }),
      ["/hosts/h/proxy/domains: the list has no effect while SNI mode is off"],
    ],
    [
      "a list that one host alone uses",
      document({ proxy: { domains: ["a.example"] }, hosts: { h: { ...client, proxy: sni } } }),
      [],
    ],
  ])("%s", (_title, source, expected) => {
    expect(issueTexts(source)).toEqual(expected);
  });

  test.each(["/proxy/mtls", "/hosts/h/proxy/mtls"])("%s is refused with the reason", (pointer) => {
    const proxy = { ...sni, mtls: { enabled: true, ca_certificate: "ca" } };
    const source = pointer.startsWith("/hosts") ? { hosts: { h: { ...client, proxy } } } : { proxy };
    const result = parseDocument(document(source));
    expect(result).toMatchObject({
      ok: false,
      issues: [
        { code: "POLICY_UNSUPPORTED", place: { pointer }, message: expect.stringContaining("passes TLS on unopened") },
      ],
    });
  });

  test.each([
    ["no list at all", {}],
    ["a wrong name", { domains: ["*"] }],
    ["an address", { domains: ["192.0.2.1"] }],
  ])("a list is judged like allow.domains: %s", (_title, rest) => {
    const result = parseDocument({ version: 1, allow: {}, proxy: { ...sni, ...rest } });
    expect(result).toMatchObject({ ok: false, issues: [{ code: "POLICY_INVALID" }] });
  });

  test("a decision names SNI mode where an address or UDP is asked", () => {
    const decider = buildDecider(validPolicy(document({ proxy: sni })));
    const from = decider.clientOf("10.9.9.9");
    const byName = expect.stringContaining("by the name in the TLS ClientHello");
    expect(decider.decideAddress(from, "192.0.2.1", "tcp", 443)).toMatchObject({
      reason: "port-not-allowed",
      nearMiss: byName,
    });
    expect(decider.decideAddress(from, "198.51.100.1", "tcp", 443)).toMatchObject({
      reason: "ip-not-allowed",
      nearMiss: byName,
    });
    expect(decider.decideNameFlow(from, "a.example", "udp", 443)).toMatchObject({
      reason: "port-not-allowed",
      nearMiss: byName,
    });
  });
});
