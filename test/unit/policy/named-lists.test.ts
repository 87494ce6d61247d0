import { describe, expect, test } from "vitest";
import type { Policy } from "../../../agent/policy/policy.ts";
import { issueTexts, parseDocument, rulesOf, validPolicy } from "../../support/policy-text.ts";

const allow = (lists: object, rest: object = {}): object => ({ version: 1, allow: lists, ...rest });
const client = { sources: ["10.0.0.1"] };

describe("what groups mean", () => {
  const groups = {
    llm: { domains: ["api.a.example", { domain: "b.example", ports: [22], label: "own" }], ports: [443] },
    data: { ips: ["10.9.0.0/16"], domains: ["d.example"], subdomains: true },
  };
  const withGroups = (own: object, rest: object = {}): Policy =>
    validPolicy(
      allow({ domains: ["g.example"], ports: [80] }, { groups, hosts: { h: { ...client, allow: own } }, ...rest }),
    );

  test.each<[string, object, readonly string[]]>([
    [
      "a group adds its entries with its own ports",
      { groups: ["llm"] },
      ["api.a.example 443/tcp", "b.example 22/tcp (own)"],
    ],
    [
      "missing ports of a group are 53, 80 and 443, whatever the allow has",
      { groups: ["data"], ports: [9] },
      ["*.d.example 53/tcp,80/tcp,443/tcp", "d.example 53/tcp,80/tcp,443/tcp", "10.9.0.0/16 53/tcp,80/tcp,443/tcp"],
    ],
    [
      "the allow's own entries, its groups and what it inherits are united",
      { domains: ["api.a.example", "g.example"], ports: [1], groups: ["llm"], inherit: true },
      ["api.a.example 1/tcp,443/tcp", "b.example 22/tcp (own)", "g.example 1/tcp,80/tcp"],
    ],
    ["without its name a group adds nothing", { domains: ["x.example"], ports: [1] }, ["x.example 1/tcp"]],
  ])("%s", (_name, own, expected) => expect(rulesOf(withGroups(own), "h")).toEqual(expected));

  test("the global allow names groups too, and hosts inherit them", () => {
    const policy = validPolicy(
      allow(
        { groups: ["llm"] },
        { groups, hosts: { h: { ...client, allow: { inherit: true } }, i: { sources: ["10.0.0.2"] } } },
      ),
    );
    expect(rulesOf(policy)).toEqual(["api.a.example 443/tcp", "b.example 22/tcp (own)"]);
    expect(rulesOf(policy, "h")).toEqual(rulesOf(policy));
  });

  test("a rule is traced to the line of its group", () => {
    const { groups: normal } = withGroups({ groups: ["llm"] });
    expect(normal.find(({ name }) => name === "h")?.names.map(({ place }) => place.pointer)).toEqual([
      "/groups/llm/domains/0",
      "/groups/llm/domains/1",
    ]);
  });

  test("labels find entries of groups; a group that nothing names is told", () => {
    const policy = withGroups({ groups: ["llm"] }, { labels: { "api.a.example": "x" } });
    expect(rulesOf(policy, "h")[0]).toBe("api.a.example 443/tcp (x)");
    expect(issueTexts(allow({ groups: ["llm"] }, { groups }))).toEqual([
      '/groups/data: no allow names the group "data"',
    ]);
  });

  test.each<[string, object, readonly string[]]>([
    [
      "an unknown group",
      allow({ groups: ["lmm"] }, { groups }),
      [
        '/allow/groups/0: there is no group "lmm"',
        '/groups/llm: no allow names the group "llm"',
        '/groups/data: no allow names the group "data"',
      ],
    ],
    [
      "a group that names a group",
      allow({ groups: ["a"] }, { groups: { a: { groups: ["a"] } } }),
      ['/groups/a/groups: the key "groups" is not known here'],
    ],
    [
      "a group that inherits",
      allow({ groups: ["a"] }, { groups: { a: { inherit: true } } }),
      ['/groups/a/inherit: the key "inherit" is not known here'],
    ],
    ["a list of hosts", allow({ groups: ["a"] }, { groups: { a: ["h"] } }), ["/groups/a: a list is not an object"]],
    [
      "what is wrong in a group is told once",
      allow(
        { groups: ["a"] },
        { groups: { a: { domains: ["*"] } }, hosts: { h: { ...client, allow: { groups: ["a"] } } } },
      ),
      ['/groups/a/domains/0: "*" would allow every name'],
    ],
  ])("%s is an error", (_name, document, expected) => {
    expect(parseDocument(document).ok).toBe(false);
    expect(issueTexts(document)).toEqual(expected);
  });
});
