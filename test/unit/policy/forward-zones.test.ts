import { describe, expect, test } from "vitest";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { issueTexts, parseDocument, validPolicy } from "../../support/policy-text.ts";

const withForward = (forward: object): object => ({
  version: 1,
  allow: { domains: ["*.corp.example", "x.example", { domain: "own.corp.example", answers: ["172.16.0.0/12"] }] },
  dns: { forward },
});

test("zones are sorted, their resolvers stay in order and are written once", () => {
  const { forward } = validPolicy(
    withForward({
      "LAB.example": { resolvers: ["10.1.0.53"], answers: ["10.1.0.0/16"] },
      "corp.example": ["10.0.0.54", "2001:DB8:0::53", "10.0.0.54"],
      corp: ["10.0.0.53"],
    }),
  );
  expect(forward?.map(({ place: _place, ...zone }) => zone)).toEqual([
    { zone: "corp", resolvers: ["10.0.0.53"] },
    { zone: "corp.example", resolvers: ["10.0.0.54", "2001:db8::53"] },
    { zone: "lab.example", resolvers: ["10.1.0.53"], answers: ["10.1.0.0/16"] },
  ]);
});

test("without zones a policy has none", () => {
  expect(validPolicy(withForward({})).forward).toBeUndefined();
});

test.each<[string, object, readonly string[]]>([
  [
    "no name",
    { "*.corp.example": ["10.0.0.53"] },
    ['/dns/forward/*.corp.example: "*.corp.example" has a * in the middle'],
  ],
  [
    "a zone twice",
    { "corp.example": ["10.0.0.53"], "Corp.Example": ["10.0.0.53"] },
    ['/dns/forward/Corp.Example: the zone "Corp.Example" is already in line 1'],
  ],
  ["a name for a resolver", { a: ["ns.example"] }, ['/dns/forward/a/0: "ns.example" is no address of a resolver']],
  ["a network for a resolver", { a: ["10.0.0.0/8"] }, ['/dns/forward/a/0: "10.0.0.0/8" is no address of a resolver']],
  ["IPv4 in IPv6", { a: ["::ffff:10.0.0.53"] }, ['/dns/forward/a/0: "::ffff:10.0.0.53" is no address of a resolver']],
  [
    "loopback",
    { a: { resolvers: ["127.0.0.1"] } },
    ["/dns/forward/a/resolvers/0: 127.0.0.1 can be no resolver (loopback)"],
  ],
  [
    "metadata",
    { a: ["169.254.169.254"] },
    ["/dns/forward/a/0: 169.254.169.254 can be no resolver (link-local and metadata services)"],
  ],
  ["no resolver", { a: [] }, ["/dns/forward/a: there is no entry"]],
  [
    "public answers",
    { a: { resolvers: ["10.0.0.53"], answers: ["192.0.2.0/24"] } },
    ["/dns/forward/a/answers/0: 192.0.2.0/24 is not within a private network"],
  ],
])("%s is refused", (_name, forward, expected) => {
  expect(parseDocument(withForward(forward)).ok).toBe(false);
  expect(issueTexts(withForward(forward))).toEqual(expected);
});

describe("a zone's answers", () => {
  const decider = buildDecider(
    validPolicy(
      withForward({
        "corp.example": { resolvers: ["10.0.0.53"], answers: ["10.0.0.0/16"] },
        "inner.corp.example": { resolvers: ["10.0.0.54"], answers: ["10.9.0.0/16"] },
        "plain.corp.example": ["10.0.0.55"],
      }),
    ),
  );
  const client = decider.clientOf("192.0.2.1");

  test.each([
    ["a.corp.example", ["10.0.0.0/16"]],
    ["a.inner.corp.example", ["10.9.0.0/16"]],
    ["inner.corp.example", ["10.9.0.0/16"]],
    ["a.plain.corp.example", []],
    ["own.corp.example", ["10.0.0.0/16", "172.16.0.0/12"]],
    ["x.example", []],
  ])("%s: those of the innermost zone, and its own", (name, expected) => {
    const decision = decider.decideName(client, name);
    expect(decision.verdict === "allow" ? decision.answers : null).toEqual(expected);
  });

  test("a zone opens no name", () => {
    expect(decider.decideName(client, "corp.example").verdict).toBe("deny");
  });
});
