import { describe, expect, test } from "vitest";
import { patternText } from "../../../agent/policy/pattern-text.ts";
import { validPolicy } from "../../support/policy-text.ts";

const allow = (lists: object, rest: object = {}): object => ({ version: 1, allow: lists, ...rest });

describe("what an entry carries", () => {
  const entry = (...domains: object[]) => validPolicy(allow({ domains, subdomains: true })).groups[0]?.names ?? [];

  test("notes and answers stay with the name and what is below it, in one order", () => {
    const notes = { owner: "team-a", reason: "the build", ticket: "T-1" };
    const answers = ["172.16.0.0/12", "10.0.0.0/8", "10.0.0.0/8"];
    const rules = entry({ domain: "a.example", ...notes, answers });
    expect(rules.map((rule) => patternText(rule.pattern))).toEqual(["*.a.example", "a.example"]);
    for (const rule of rules) expect(rule).toMatchObject({ notes, answers: ["10.0.0.0/8", "172.16.0.0/12"] });
  });

  test("a plain entry carries nothing", () => {
    const [rule] = entry({ domain: "a.example" });
    expect(Object.keys(rule ?? {}).sort()).toEqual(["label", "pattern", "place", "ports"]);
  });

  test("of one name in two entries the answers are united, and the first notes and label are kept", () => {
    const rules = entry(
      { domain: "a.example", answers: ["10.1.0.0/16"] },
      { domain: "A.example", answers: ["10.0.0.0/16", "10.1.0.0/16"], owner: "b", label: "l" },
      { domain: "a.example", owner: "c", ticket: "T", label: "m" },
    );
    for (const rule of rules) {
      expect(rule).toMatchObject({ label: "l", notes: { owner: "b" }, answers: ["10.0.0.0/16", "10.1.0.0/16"] });
    }
  });
});
