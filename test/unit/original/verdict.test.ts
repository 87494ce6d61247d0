import { describe, expect, test } from "vitest";
import type { DnsResult } from "../../lab/client.ts";
import {
  closedHours,
  fieldOf,
  wordAnswer,
  wordCap,
  wordEnding,
  wordRate,
  wordTransfer,
} from "../../original/verdict.ts";

describe("wordEnding", () => {
  test.each([
    ["reached", { outcome: "connected", ms: 3 }, 5],
    ["taken by the gateway, nothing left", { outcome: "connected", ms: 3 }, 0],
    ["closed at once", { outcome: "refused", ms: 999 }, 0],
    ["closed after 3 s", { outcome: "reset", ms: 3_010 }, 0],
    ["closed at once, 1 packet left", { outcome: "reset", ms: 10 }, 1],
    ["times out, 3 packets left", { outcome: "timeout", ms: 3_000 }, 3],
    ["NXDOMAIN", { outcome: "unresolved", rcode: "NXDOMAIN", ms: 2 }, 0],
    ["no answer to the name", { outcome: "unresolved", rcode: "timeout", ms: 3_000 }, 0],
  ])("%s", (word, ending, packetsLeft) => {
    expect(wordEnding(ending, packetsLeft)).toBe(word);
  });
});

describe("wordAnswer", () => {
  const answer = (rcode: string, addresses: readonly string[]): DnsResult => ({
    outcome: "answer",
    rcode,
    authoritative: false,
    truncated: false,
    recursionAvailable: true,
    authenticated: false,
    answers: addresses.map((data) => ({ name: "a.test", type: "A", ttl: 30, data })),
    authorities: [],
    additionals: [],
    addresses,
    extendedErrors: [],
    bytes: 50,
    ms: 2,
  });
  test.each([
    ["NXDOMAIN, none left", answer("NXDOMAIN", []), 0],
    ["NXDOMAIN, 1 question left", answer("NXDOMAIN", []), 1],
    ["no data, 2 questions left", answer("NOERROR", []), 2],
    ["answered 192.0.2.1", answer("NOERROR", ["192.0.2.1"]), 1],
    ["no answer, none left", { outcome: "timeout", ms: 3_000 } as const, 0],
  ])("%s", (word, result, questionsLeft) => {
    expect(wordAnswer(result, questionsLeft)).toBe(word);
  });
});

test("a transfer is counted by its records, and one that fails has none", () => {
  const zone = "rpz.test.\t60\tIN\tSOA\ta. b. 1 2 3 4 5\na.rpz.test.\t60\tIN\tCNAME\trpz-passthru.\n";
  expect(wordTransfer(zone)).toBe("all of it, 2 records");
  expect(wordTransfer("; <<>> DiG 9.18 <<>> rpz.test. AXFR\n; Transfer failed.\n")).toBe("refused");
  expect(wordTransfer(`${zone}; Transfer failed.\n`)).toBe("refused");
});

test("a rate keeps to its limit, or is so many times of it", () => {
  expect(wordRate(920, 800)).toBe("920 kbit/s, within 15 %");
  expect(wordRate(921, 800)).toBe("921 kbit/s, 1 times the limit");
  expect(wordRate(200_000, 800)).toBe("200,000 kbit/s, 250 times the limit");
  expect(wordRate(0, 800)).toBe("0 kbit/s, 0 times the limit");
});

test("a cap is kept to the byte", () => {
  expect(wordCap(0, 1_000)).toBe("nothing arrives");
  expect(wordCap(1_000, 1_000)).toBe("stops below 1,000 bytes");
  expect(wordCap(38_000, 1_000)).toBe("38,000 bytes arrive, 38 times the cap");
});

describe("fieldOf", () => {
  const policy = {
    version: 1,
    allow: { domains: ["a.test"], ports: [] },
    hosts: { 'x" accept\n': { sources: ["::1"] } },
  };
  const text = JSON.stringify(policy, null, 2);
  const lineOf = (part: string): number => text.split("\n").findIndex((line) => line.includes(part)) + 1;
  test.each([
    ["ports", "allow/ports"],
    ["a.test", "allow/domains"],
    ["accept", "hosts/…"],
    ["sources", "hosts/…/sources"],
  ])("the line of %s is that of %s", (part, field) => {
    expect(fieldOf(`policy.json:${lineOf(part)}:5: error: it is wrong`, text)).toBe(field);
  });
  test("without a place it is the message", () => {
    expect(fieldOf("nobody signed\nsign it", text)).toBe("nobody signed");
  });
});

test.each([0, 1, 2, 3, 4, 5, 6])("hours that are closed in every zone on day %i of a week", (offset) => {
  const now = new Date(Date.UTC(2026, 10, 22 + offset, 23, 30));
  const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
  const near = [-1, 0, 1].map((shift) => days[(now.getUTCDay() + shift + 7) % 7]);
  const { days: open } = closedHours(now);
  expect(open).toHaveLength(1);
  expect(near).not.toContain(open[0]);
});
