import { describe, expect, test } from "vitest";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import { issueTexts, parseDocument } from "../../support/policy-text.ts";

const allow = (lists: object, rest: object = {}): object => ({ version: 1, allow: lists, ...rest });

describe("a policy's own tests", () => {
  const base = {
    domains: ["a.example", { domain: "*.b.example", ports: [22, "53/udp"] }],
    ips: ["192.0.2.0/24"],
    ports: [443],
  };
  const rest = {
    deny: { domains: ["evil.b.example"] },
    hosts: {
      h: { sources: ["10.0.0.0/24"], allow: { domains: ["h.example"], ports: [443] } },
      first: { sources: ["10.0.0.0/32"] },
    },
  };
  const withTests = (...tests: readonly (readonly [string, string, string])[]): object =>
    allow(base, { ...rest, tests: tests.map(([from, to, expected]) => ({ from, to, expect: expected })) });

  test("pass when every answer is the expected one", () => {
    const document = withTests(
      ["*", "a.example:443", "allow"],
      ["*", "a.example:80", "deny"],
      ["*", "A.EXAMPLE:443", "allow"],
      ["*", "x.b.example:22", "allow"],
      ["*", "x.b.example:53/udp", "allow"],
      ["*", "x.b.example:53", "deny"],
      ["*", "evil.b.example:22", "deny"],
      ["*", "evil.b.example", "deny"],
      ["*", "a.example", "allow"],
      ["*", "192.0.2.7:443", "allow"],
      ["*", "[2001:db8::1]:443", "deny"],
      ["h", "h.example:443", "allow"],
      ["h", "a.example:443", "deny"],
      ["first", "a.example:443", "allow"],
      ["10.0.0.7", "h.example:443", "allow"],
      ["10.0.0.0", "h.example:443", "deny"],
      ["203.0.113.1", "a.example:443", "allow"],
    );
    expect(issueTexts(document)).toEqual([]);
  });

  test.each<[readonly [string, string, string], string, string]>([
    [
      ["*", "a.example:443", "deny"],
      "POLICY_TEST_FAILED",
      '/tests/0: "*" to "a.example:443" is allowed by a.example (policy.json:1), and the test expects deny',
    ],
    [
      ["h", "a.example:443", "allow"],
      "POLICY_TEST_FAILED",
      '/tests/0: "h" to "a.example:443" is denied (dns-not-allowed: a.example is allowed for clients without an allow list of their own (policy.json:1)), and the test expects allow',
    ],
    [
      ["*", "evil.b.example:22", "allow"],
      "POLICY_TEST_FAILED",
      '/tests/0: "*" to "evil.b.example:22" is denied (denied-explicit: deny lists evil.b.example (policy.json:1)), and the test expects allow',
    ],
    [["nobody", "a.example:443", "deny"], "POLICY_INVALID", '/tests/0/from: "nobody" is no address and no host entry'],
    [["*", "a..example:443", "deny"], "POLICY_INVALID", '/tests/0/to: "a..example" has an empty label'],
    [["*", "a.example:0", "deny"], "POLICY_INVALID", "/tests/0/to: 0 is no port"],
    [["*", "192.0.2.1", "deny"], "POLICY_INVALID", '/tests/0/to: "192.0.2.1" has no port'],
  ])("%j is refused with %s", (wrong, code, text) => {
    const result = parseDocument(withTests(wrong));
    expect(result.ok ? [] : result.issues.map((issue) => issue.code)).toEqual([code]);
    expect(issueTexts(withTests(wrong))).toEqual([text]);
  });

  test("are told at their own line", () => {
    const text = JSON.stringify(withTests(["*", "a.example:443", "allow"], ["*", "c.example:443", "allow"]), null, 1);
    const lines = text.split("\n");
    const result = parseDocument(text);
    const [issue] = result.ok ? [] : result.issues;
    expect(lines.slice(issue?.place.line, (issue?.place.line ?? 0) + 2).join()).toContain("c.example");
  });

  test("are not asked under deny-all, and not where the caller only looks", () => {
    const failing = withTests(["*", "c.example:443", "allow"]);
    expect(issueTexts({ ...failing, mode: "deny-all" })).toEqual([]);
    const bytes = Buffer.from(JSON.stringify(failing));
    expect(parsePolicy(bytes, "policy.json").ok).toBe(false);
    expect(parsePolicy(bytes, "policy.json", { tests: "skip" }).ok).toBe(true);
  });

  test("wait for the errors that come before them", () => {
    const document = { ...withTests(["*", "c.example:443", "allow"]), labels: { "*": "x" } };
    expect(issueTexts(document)).toEqual(['/labels/*: "*" would allow every name']);
  });

  test("ask what the policy says, not what an audit lets pass", () => {
    const asked = [{ from: "*", to: "c.example:443", expect: "deny" }];
    const result = parseDocument(allow(base, { ...rest, mode: "audit", tests: asked }));
    expect(result.ok).toBe(true);
  });
});
