import { describe, expect, test } from "vitest";
import { formatIssue } from "../../../agent/policy/issue-log.ts";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import type { Policy, PolicyResult } from "../../../agent/policy/policy.ts";
import { rulesOf } from "../../support/policy-text.ts";

const client = { sources: ["10.0.0.1"] };

describe("included files", () => {
  const parse = (main: object, files: { readonly [path: string]: unknown }): PolicyResult =>
    parsePolicy(Buffer.from(JSON.stringify({ version: 1, ...main })), "policy.json", {
      files: new Map(
        Object.entries(files).map(([path, content]) => [
          path,
          Buffer.from(typeof content === "string" ? content : JSON.stringify(content, null, 1)),
        ]),
      ),
    });
  const accepted = (result: PolicyResult): Policy => {
    if (!result.ok) throw new Error(result.issues.map(formatIssue).join("\n"));
    return result.policy;
  };
  const told = (result: PolicyResult): readonly string[] =>
    (result.ok ? result.warnings : result.issues).map(
      ({ place, message }) => `${place.file}:${place.line}${place.pointer}: ${message}`,
    );
  const file = (content: object): object => ({ version: 1, ...content });

  test("add to the global lists, each with its own ports, to deny, labels, groups, hosts and tests", () => {
    const policy = accepted(
      parse(
        {
          allow: { domains: ["a.example"], ports: [443], groups: ["llm"] },
          include: ["lists/llm.json", "hosts.json"],
        },
        {
          "lists/llm.json": file({
            groups: { llm: { domains: ["b.example"], ports: [22] } },
            allow: { domains: ["a.example", "c.example"], ports: [80] },
            deny: { domains: ["evil.example"] },
            labels: { "a.example": "main" },
            include: ["deep.json"],
          }),
          "deep.json": file({ allow: { ips: ["192.0.2.1"], ports: [53] }, deny: { ips: ["10.0.0.0/8"] } }),
          "hosts.json": file({
            hosts: { h: { ...client, allow: { groups: ["llm"] } } },
            tests: [{ from: "h", to: "b.example:22", expect: "allow" }],
          }),
        },
      ),
    );
    expect(rulesOf(policy)).toEqual([
      "a.example 80/tcp,443/tcp (main)",
      "b.example 22/tcp",
      "c.example 80/tcp",
      "192.0.2.1/32 53/tcp",
    ]);
    expect(rulesOf(policy, "h")).toEqual(["b.example 22/tcp"]);
    expect(policy.deny?.names.map(({ place }) => place.file)).toEqual(["lists/llm.json"]);
    expect(policy.deny?.networks.map(({ place }) => place.file)).toEqual(["deep.json"]);
    const rule = policy.groups[0]?.names.find(({ pattern }) => pattern.name === "c.example");
    expect(rule?.place).toMatchObject({ file: "lists/llm.json", pointer: "/allow/domains/1" });
  });

  test("a policy may consist of included files alone", () => {
    const policy = accepted(parse({ include: ["a.json"] }, { "a.json": file({ allow: { domains: ["a.example"] } }) }));
    expect(rulesOf(policy)).toHaveLength(1);
  });

  const lists = { allow: { domains: ["a.example"] } };
  const deep = Object.fromEntries(
    Array.from({ length: 9 }, (_, index) => [`${index}.json`, file({ include: [`${index + 1}.json`] })]),
  );
  test.each<[string, object, { readonly [path: string]: unknown }, readonly string[]]>([
    ["a missing file", { include: ["x.json"] }, {}, ['policy.json:1/include/0: there is no file "x.json"']],
    [
      "a file that includes itself",
      { include: ["a.json"] },
      { "a.json": file({ include: ["a.json"] }) },
      ['a.json:4/include/0: "a.json" is included already (policy.json:1)'],
    ],
    [
      "a file that includes the policy",
      { include: ["a.json"] },
      { "a.json": file({ include: ["policy.json"] }) },
      ['a.json:4/include/0: "policy.json" is included already (this is the policy itself)'],
    ],
    [
      "a file that two files include",
      { include: ["a.json", "b.json"] },
      { "a.json": file({ include: ["b.json"] }), "b.json": file({}) },
      ['policy.json:1/include/1: "b.json" is included already (a.json:4)'],
    ],
    ["files too deep", { include: ["0.json"] }, deep, ["6.json:4/include/0: files include files more than 8 deep"]],
    [
      "a key for the policy alone",
      { ...lists, include: ["a.json"] },
      { "a.json": file({ mode: "deny-all" }) },
      ['a.json:3/mode: "mode" cannot stand in an included file'],
    ],
    [
      "another shape",
      { ...lists, include: ["a.json"] },
      { "a.json": file({ allow: [] }) },
      ["a.json:3/allow: a list is not an object"],
    ],
    [
      "no JSON",
      { ...lists, include: ["a.json", "b.json"] },
      { "a.json": "", "b.json": "[1,]" },
      ["a.json:1: the text is empty", "b.json:1: a comma stands before ]"],
    ],
    [
      "a host in two files",
      { ...lists, hosts: { h: client }, include: ["a.json"] },
      { "a.json": file({ hosts: { h: { sources: ["10.0.0.2"] }, i: client } }) },
      [
        'a.json:4/hosts/h: the host "h" is already in policy.json:1',
        'a.json:11/hosts/i/sources/0: 10.0.0.1/32 is already a source of host "h" (policy.json:1)',
      ],
    ],
    [
      "a group in two files",
      { allow: { groups: ["g"] }, groups: { g: lists.allow }, include: ["a.json"] },
      { "a.json": file({ groups: { g: lists.allow } }) },
      ['a.json:4/groups/g: the group "g" is already in policy.json:1'],
    ],
    [
      "an error in a file",
      { ...lists, include: ["b.json", "a.json"] },
      {
        "a.json": file({ allow: { domains: ["*"] } }),
        "b.json": file({ allow: { ips: ["1.2.3.4/8"], domains: ["*"] } }),
      },
      [
        'b.json:5/allow/ips/0: "1.2.3.4/8" has bits set after its prefix',
        'b.json:8/allow/domains/0: "*" would allow every name',
        'a.json:5/allow/domains/0: "*" would allow every name',
      ],
    ],
    [
      "a failing test of a file",
      { ...lists, include: ["a.json"] },
      { "a.json": file({ tests: [{ from: "*", to: "b.example:1", expect: "allow" }] }) },
      [expect.stringMatching(/^a\.json:4\/tests\/0: .* and the test expects allow$/) as string],
    ],
    [
      "a path upwards",
      { ...lists, include: ["../a.json"] },
      {},
      ['policy.json:1/include/0: "../a.json" is not valid here'],
    ],
    [
      "an absolute path",
      { ...lists, include: ["/a.json"] },
      {},
      ['policy.json:1/include/0: "/a.json" is not valid here'],
    ],
  ])("%s is refused at its place", (_name, main, files, expected) => {
    const result = parse(main, files);
    expect(result.ok).toBe(false);
    expect(told(result)).toEqual(expected);
  });

  test("more than a hundred files are refused", () => {
    const names = Array.from({ length: 100 }, (_, index) => `f${index}.json`);
    const files = Object.fromEntries(names.map((name) => [name, file({})]));
    const result = parse({ ...lists, include: names }, { ...files, "f99.json": file({ include: ["more.json"] }) });
    expect(told(result)).toEqual(["f99.json:4/include/0: more than 100 files are included"]);
  });
});
