import { describe, expect, test } from "vitest";
import { markCaps, relayAddress } from "../../../agent/compile/byte-caps.ts";
import { bytesText, capStateText } from "../../../agent/policy/cap-text.ts";
import { findCap } from "../../../agent/policy/caps.ts";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import { patternText } from "../../../agent/policy/pattern-text.ts";
import { policyOf } from "../../support/compile-samples.ts";

const day = (bytes: number) => ({ bytes, period: "day" });

function documentWith(domains: object, more: object = {}): object {
  const allow = { domains: ["api.test.org", "*.wild.test.org"] };
  return { version: 1, allow, hosts: { one: { sources: ["10.0.0.1"], exfil: { domains }, ...more } } };
}

function issuesOf(document: object): readonly string[] {
  const result = parsePolicy(Buffer.from(JSON.stringify(document, null, 2)), "policy.json");
  const issues = result.ok ? result.warnings : result.issues;
  return issues.map(({ severity, place, message }) => `${severity} ${place.pointer}: ${message}`);
}

describe("exfil", () => {
  test("gives a host a group of its own, with the rules that it had", () => {
    const { groups, hosts } = policyOf(documentWith({ "API.test.org": day(5), "*.wild.test.org": day(7) }));
    expect(hosts[0]?.group).toBe("one");
    const [everyone, one] = groups;
    expect(one?.names.map(({ pattern }) => pattern)).toEqual(everyone?.names.map(({ pattern }) => pattern));
    expect(one?.caps?.map(({ pattern, bytes, period }) => [patternText(pattern), bytes, period])).toEqual([
      ["*.wild.test.org", 7, "day"],
      ["api.test.org", 5, "day"],
    ]);
    expect(everyone?.caps).toBeUndefined();
  });

  test("counts a name for its own cap, else for that of the longest wildcard over it", () => {
    const caps = policyOf(
      documentWith({ "*.test.org": day(1), "*.wild.test.org": day(2), "a.wild.test.org": day(3) }),
    ).groups.find(({ name }) => name === "one")?.caps;
    const capOf = (name: string): number | null => findCap(caps, name)?.bytes ?? null;
    expect(["a.wild.test.org", "b.wild.test.org", "b.a.wild.test.org", "wild.test.org", "test.org"].map(capOf)).toEqual(
      [...[3, 2, 2, 1], null],
    );
    expect(findCap(undefined, "a.wild.test.org")).toBeNull();
  });

  test.each([
    ["no name", { "https://x": day(1) }, /^error \/hosts\/one\/exfil\/domains\/https:~1~1x: /],
    ["everything", { "*": day(1) }, /^error \/hosts\/one\/exfil\/domains\/\*: /],
    [
      "the same name twice",
      { "api.test.org": day(1), "API.test.org": day(2) },
      /^error \/hosts\/one\/exfil\/domains\/API.test.org: .* has a cap already in line \d+$/,
    ],
    ["no bytes", { "api.test.org": day(0) }, /^error \/hosts\/one\/exfil\/domains\/api.test.org\/bytes: /],
    ["an unknown period", { "api.test.org": { bytes: 1, period: "week" } }, /^error \/hosts\/one\/exfil.*\/period: /],
    [
      "a name that the host may not reach",
      { "other.test.org": day(1) },
      /^warning \/hosts\/one\/exfil\/domains\/other.test.org: the host may reach nothing that/,
    ],
    ["a wildcard over none of its names", { "*.api.test.org": day(1) }, /^warning .*the cap counts nothing/],
  ])("says where and what is wrong with %s", (_, domains, message) => {
    expect(issuesOf(documentWith(domains))).toEqual([expect.stringMatching(message)]);
  });

  test.each([
    ["a name under an allowed wildcard", { "a.wild.test.org": day(1) }],
    ["a wildcard under an allowed wildcard", { "*.a.wild.test.org": day(1) }],
    ["a wildcard over allowed names", { "*.test.org": day(1) }],
  ])("takes %s without a word", (_, domains) => {
    expect(issuesOf(documentWith(domains))).toEqual([]);
  });

  test("of more caps than the kernel is read for is refused, in one host and in all together", () => {
    const many = (count: number): object =>
      Object.fromEntries(Array.from({ length: count }, (_, n) => [`n${n}.wild.test.org`, day(1)]));
    expect(issuesOf(documentWith(many(10_001)))).toEqual([
      expect.stringMatching(/^error \/hosts\/one\/exfil\/domains: there are 10001 byte caps/),
    ]);
    const host = (n: number): object => ({ sources: [`10.0.1.${n}`], exfil: { domains: many(501) } });
    const hosts = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`h${n}`, host(n)]));
    expect(issuesOf({ ...documentWith({}), hosts })).toEqual([
      expect.stringMatching(/^error \/hosts: the hosts have 10020 byte caps/),
    ]);
  });
});

describe("the mark of a cap", () => {
  const marksOf = (domains: object): ReadonlyMap<string, number> =>
    new Map(markCaps(policyOf(documentWith(domains))).map(({ pattern, mark }) => [patternText(pattern), mark]));

  test("stays when its bytes change and other caps come; its period makes it another", () => {
    const before = marksOf({ "api.test.org": day(1) }).get("api.test.org");
    expect(marksOf({ "api.test.org": day(9), "*.wild.test.org": day(1) }).get("api.test.org")).toBe(before);
    expect(marksOf({ "api.test.org": { bytes: 1, period: "hour" } }).get("api.test.org")).not.toBe(before);
  });

  test("is a loopback address that nobody else uses", () => {
    expect(relayAddress(0x7f_01_02_03)).toBe("127.1.2.3");
    for (const mark of marksOf({ "api.test.org": day(1), "*.wild.test.org": day(1) }).values()) {
      expect(relayAddress(mark)).toMatch(/^127\.([1-9]|\d\d+)\.\d+\.\d+$/);
    }
  });

  test("is nobody's under deny-all", () => {
    expect(markCaps(policyOf({ ...documentWith({ "api.test.org": day(1) }), mode: "deny-all" }))).toEqual([]);
  });
});

test("people read what is used, and until when", () => {
  const state = { pattern: "a.test", period: "hour", startMs: Date.UTC(2026, 10, 26, 9), bytes: 5_000_000 } as const;
  expect(capStateText({ ...state, used: 3_299_999 })).toBe("3.2 MB of 5 MB used until 2026-11-26T10:00:00Z");
  expect(capStateText({ ...state, used: 9_000_000 })).toBe("5 MB of 5 MB used until 2026-11-26T10:00:00Z");
  expect([0, 999, 1000, 999_999, 2 ** 53 - 1].map(bytesText)).toEqual([
    ...["0 bytes", "999 bytes", "1 kB", "999.9 kB"],
    "9 PB",
  ]);
});
