import { describe, expect, test } from "vitest";
import { patternText } from "../../../agent/policy/pattern-text.ts";
import type { Policy } from "../../../agent/policy/policy.ts";
import { issueTexts, parseDocument, rulesOf, validPolicy } from "../../support/policy-text.ts";

const allow = (lists: object, rest: object = {}): object => ({ version: 1, allow: lists, ...rest });
const client = { sources: ["10.0.0.1"] };

describe("what deny means", () => {
  const denied = (denials: Policy["deny"]): readonly string[] => [
    ...(denials?.names ?? []).map(({ pattern, label }) => patternText(pattern) + (label === null ? "" : ` (${label})`)),
    ...(denials?.networks ?? []).map(({ network }) => network),
  ];
  const lists = { domains: ["a.example"] };

  test.each<[string, object, readonly string[]]>([
    [
      "names and networks, each in one order",
      { domains: ["c.example", "*.b.example"], ips: ["10.1.0.0/16", "10.0.0.0/8"] },
      ["*.b.example", "c.example", "10.0.0.0/8", "10.1.0.0/16"],
    ],
    [
      "subdomains: each name and what is below it",
      { domains: ["b.example"], subdomains: true },
      ["*.b.example", "b.example"],
    ],
    ["all names below a top-level domain", { domains: ["*.zip"] }, ["*.zip"]],
    ["everything", { ips: ["0.0.0.0/0", "::/0"] }, ["0.0.0.0/0", "::/0"]],
    ["objects with labels", { domains: [{ domain: "b.example", label: "bad", owner: "o" }] }, ["b.example (bad)"]],
  ])("%s", (_name, deny, expected) => {
    expect(denied(validPolicy(allow(lists, { deny })).deny)).toEqual(expected);
    const { groups, hosts } = validPolicy(allow(lists, { hosts: { h: { ...client, deny } } }));
    expect(denied(groups.find(({ name }) => name === "h")?.deny)).toEqual(expected);
    expect(hosts[0]?.group).toBe("h");
  });

  test("a host with nothing but deny has the global lists besides", () => {
    const policy = validPolicy(allow(lists, { hosts: { h: { ...client, deny: { domains: ["b.example"] } } } }));
    expect(rulesOf(policy, "h")).toEqual(rulesOf(policy));
    expect(policy.deny).toBeUndefined();
  });

  test("an empty deny is none", () => {
    expect(validPolicy(allow(lists, { deny: {} })).deny).toBeUndefined();
  });

  test.each<[string, object, readonly string[]]>([
    [
      "ports",
      { domains: [{ domain: "b.example", ports: [443] }] },
      ['/deny/domains/0/ports: the key "ports" is not known here'],
    ],
    [
      "answers",
      { domains: [{ domain: "b.example", answers: ["10.0.0.0/8"] }] },
      ['/deny/domains/0/answers: the key "answers" is not known here'],
    ],
    ["every name", { domains: ["*"] }, ['/deny/domains/0: "*" would deny every name']],
    ["no network", { ips: ["10.0.0.1/8"] }, ['/deny/ips/0: "10.0.0.1/8" has bits set after its prefix']],
  ])("%s is an error", (_name, deny, expected) => {
    expect(parseDocument(allow(lists, { deny })).ok).toBe(false);
    expect(issueTexts(allow(lists, { deny }))).toEqual(expected);
  });

  test("repetitions are told, and labels find denied entries", () => {
    const deny = { domains: ["b.example", "B.example"], ips: ["10.0.0.1", "10.0.0.1/32"] };
    expect(issueTexts(allow(lists, { deny, labels: { "b.example": "bad" } }))).toEqual([
      '/deny/domains/1: "b.example" is denied already in line 1',
      '/deny/ips/1: "10.0.0.1/32" is denied already in line 1',
    ]);
  });
});
