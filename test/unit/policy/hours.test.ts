import { describe, expect, test } from "vitest";
import { buildDecider, type Decision } from "../../../agent/policy/decide.ts";
import { parseInstant } from "../../../agent/policy/expiry.ts";
import { hoursLines, noteHours } from "../../../agent/policy/explain-hours.ts";
import { type Hours, hoursText, nextOfHours } from "../../../agent/policy/hours.ts";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import { collectFacts } from "../../../agent/policy/policy-facts.ts";
import { instantText } from "../../../agent/policy/wall-time.ts";
import { issueTexts, validPolicy } from "../../support/policy-text.ts";

const at = (text: string): number => Date.parse(text) / 1000;

function spans(hours: Hours, from: string, count: number): readonly string[] {
  const found: string[] = [];
  let t = at(from);
  for (let index = 0; index < count; index++) {
    const { fromS, untilS } = nextOfHours(hours, t);
    found.push(`${instantText(fromS)} ${untilS === Number.POSITIVE_INFINITY ? "for ever" : instantText(untilS)}`);
    t = untilS;
  }
  return found;
}

const daily = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

describe("hours of the week", () => {
  test("a window over midnight belongs to the day on which it starts", () => {
    const night: Hours = { days: ["mon"], startS: 22 * 3600, endS: 6 * 3600, timeZone: "UTC" };
    // 2026-11-23 is a Monday.
    expect(spans(night, "2026-11-23T00:00:00Z", 2)).toEqual([
      "2026-11-23T22:00:00Z 2026-11-24T06:00:00Z",
      "2026-11-30T22:00:00Z 2026-12-01T06:00:00Z",
    ]);
    expect(spans(night, "2026-11-24T05:59:59Z", 1)).toEqual(["2026-11-23T22:00:00Z 2026-11-24T06:00:00Z"]);
  });

  test("local hours move with the clocks, and what the clocks skip or show twice opens and ends at the first moment", () => {
    const office: Hours = { days: daily, startS: 8 * 3600, endS: 18 * 3600, timeZone: "Europe/Berlin" };
    expect(spans(office, "2026-03-28T00:00:00Z", 2)).toEqual([
      "2026-03-28T07:00:00Z 2026-03-28T17:00:00Z",
      "2026-03-29T06:00:00Z 2026-03-29T16:00:00Z",
    ]);
    // 02:30 is skipped on 29 March 2026 and comes twice on 25 October 2026.
    const early: Hours = { days: daily, startS: 2.5 * 3600, endS: 4 * 3600, timeZone: "Europe/Berlin" };
    expect(spans(early, "2026-03-29T00:00:00Z", 1)).toEqual(["2026-03-29T01:00:00Z 2026-03-29T02:00:00Z"]);
    expect(spans(early, "2026-10-25T00:00:00Z", 1)).toEqual(["2026-10-25T00:30:00Z 2026-10-25T03:00:00Z"]);
    const late: Hours = { days: daily, startS: 22 * 3600, endS: 2.5 * 3600, timeZone: "Europe/Berlin" };
    expect(spans(late, "2026-10-24T12:00:00Z", 1)).toEqual(["2026-10-24T20:00:00Z 2026-10-25T00:30:00Z"]);
    const skipped: Hours = { days: ["sun"], startS: 2 * 3600, endS: 3 * 3600, timeZone: "Europe/Berlin" };
    expect(spans(skipped, "2026-03-28T12:00:00Z", 1)).toEqual(["2026-04-05T00:00:00Z 2026-04-05T01:00:00Z"]);
  });

  test("whole days in a row are one span, and all days never end", () => {
    const days: Hours = { days: ["sat", "sun"], startS: 0, endS: 0, timeZone: "UTC" };
    expect(spans(days, "2026-11-26T00:00:00Z", 1)).toEqual(["2026-11-28T00:00:00Z 2026-11-30T00:00:00Z"]);
    const always: Hours = { days: daily, startS: 0, endS: 0, timeZone: "UTC" };
    expect(spans(always, "2026-11-26T00:00:00Z", 1)).toEqual(["2026-11-26T00:00:00Z for ever"]);
    expect([days, always, { ...days, days: ["mon", "tue", "wed"] as const }].map(hoursText)).toEqual([
      "sat,sun 00:00-00:00 UTC",
      "daily 00:00-00:00 UTC",
      "mon-wed 00:00-00:00 UTC",
    ]);
  });
});

describe("expiry", () => {
  test("a day counts to its end, a time to itself, in UTC", () => {
    expect(parseInstant("2026-12-31")).toEqual({ ok: true, value: at("2027-01-01T00:00:00Z") });
    expect(parseInstant("2026-12-31T18:00Z")).toEqual({ ok: true, value: at("2026-12-31T18:00:00Z") });
    expect(parseInstant("2028-02-29T00:00:01Z")).toEqual({ ok: true, value: at("2028-02-29T00:00:01Z") });
  });

  test.each(["2026-02-29", "2026-13-01", "2026-00-10", "2026-12-00", "2026-12-31T24:00Z", "2026-12-31T10:60Z", "soon"])(
    "%s is no day or time",
    (text) => {
      expect(parseInstant(text)).toMatchObject({ ok: false, message: `"${text}" is no day or time` });
    },
  );

  test.each(["0001-01-01", "9999-12-31", "2200-01-01"])("%s is out of bounds", (text) => {
    expect(parseInstant(text)).toMatchObject({ ok: false, message: `"${text}" is not within 2000 to 2199` });
  });
});

const policy = validPolicy({
  version: 1,
  allow: {
    domains: [
      "always.example.com",
      { domain: "grant.example.com", expires: "2026-12-01", ports: [443] },
      { domain: "grant.example.com", ports: [80] },
      { domain: "past.example.com", expires: "2026-11-01" },
      "*.wild.example.com",
    ],
    ips: [{ network: "203.0.113.0/24", expires: "2026-12-01T12:00:00Z" }, "198.51.100.0/24"],
  },
  deny: { domains: [{ domain: "blocked.wild.example.com", expires: "2026-12-01" }] },
  domain_time_windows: {
    "*.wild.example.com": { start: "08:00", end: "18:00" },
    "night.wild.example.com": { start: "22:00", end: "06:00", days: ["thu"] },
  },
  hosts: {
    office: {
      sources: ["10.0.0.1"],
      time_window: { start: "09:00", end: "17:00", days: ["mon", "tue", "wed", "thu", "fri"], tz: "Europe/Berlin" },
    },
    night: { sources: ["10.0.0.2"], domain_time_windows: { "*.wild.example.com": { start: "20:00", end: "21:00" } } },
  },
});

/** 2026-11-26 is a Thursday. */
function decide(from: string, name: string, time: string, port = 443): Decision {
  const decider = buildDecider(policy, () => at(time));
  return decider.decideNameFlow(decider.clientOf(from), name, "tcp", port);
}

function outcome(decision: Decision): string {
  return decision.verdict === "allow" ? "allow" : `${decision.reason}: ${decision.nearMiss}`;
}

describe("decisions", () => {
  test("the hours of a client are its host's, and everything it may reach is within them", () => {
    expect(outcome(decide("10.0.0.1", "always.example.com", "2026-11-26T08:00:00Z"))).toBe("allow");
    expect(outcome(decide("10.0.0.1", "always.example.com", "2026-11-26T07:59:59Z"))).toBe(
      "outside-window: always.example.com is allowed mon-fri 09:00-17:00 Europe/Berlin; it opens at 2026-11-26T08:00:00Z",
    );
    expect(outcome(decide("10.0.0.1", "always.example.com", "2026-11-27T16:00:00Z"))).toBe(
      "outside-window: always.example.com is allowed mon-fri 09:00-17:00 Europe/Berlin; it opens at 2026-11-30T08:00:00Z",
    );
    expect(outcome(decide("10.0.0.9", "always.example.com", "2026-11-29T03:00:00Z"))).toBe("allow");
    const decider = buildDecider(policy, () => at("2026-11-26T07:00:00Z"));
    const office = decider.clientOf("10.0.0.1");
    expect(decider.decideAddress(office, "198.51.100.1", "tcp", 443)).toMatchObject({ reason: "outside-window" });
    expect(decider.coversAddress(office, "198.51.100.1")).toBe(false);
    expect(decider.decideAddress(decider.clientOf("10.0.0.9"), "198.51.100.1", "tcp", 443).verdict).toBe("allow");
  });

  test("of the hours of names the most specific name counts, and the host's before everyone's", () => {
    expect(outcome(decide("10.0.0.9", "a.wild.example.com", "2026-11-26T08:00:00Z"))).toBe("allow");
    expect(outcome(decide("10.0.0.9", "a.wild.example.com", "2026-11-26T18:00:00Z"))).toMatch(/^outside-window/);
    expect(outcome(decide("10.0.0.9", "night.wild.example.com", "2026-11-26T12:00:00Z"))).toMatch(/^outside-window/);
    expect(outcome(decide("10.0.0.9", "night.wild.example.com", "2026-11-27T05:59:59Z"))).toBe("allow");
    expect(outcome(decide("10.0.0.9", "night.wild.example.com", "2026-11-28T05:59:59Z"))).toMatch(/^outside-window/);
    expect(outcome(decide("10.0.0.2", "a.wild.example.com", "2026-11-26T08:00:00Z"))).toMatch(/^outside-window/);
    expect(outcome(decide("10.0.0.2", "a.wild.example.com", "2026-11-26T20:30:00Z"))).toBe("allow");
    expect(outcome(decide("10.0.0.1", "a.wild.example.com", "2026-11-26T07:30:00Z"))).toMatch(/ and /);
  });

  test("what expires opens nothing any more, and only the ports that no other entry opens go", () => {
    expect(outcome(decide("10.0.0.9", "past.example.com", "2026-11-26T00:00:00Z"))).toBe(
      "expired: past.example.com expired at 2026-11-02T00:00:00Z",
    );
    expect(outcome(decide("10.0.0.9", "grant.example.com", "2026-12-01T23:59:59Z"))).toBe("allow");
    expect(outcome(decide("10.0.0.9", "grant.example.com", "2026-12-02T00:00:00Z"))).toBe(
      "expired: grant.example.com expired at 2026-12-02T00:00:00Z",
    );
    expect(outcome(decide("10.0.0.9", "grant.example.com", "2026-12-02T00:00:00Z", 80))).toBe("allow");
    const decider = buildDecider(policy, () => at("2026-12-01T12:00:00Z"));
    const client = decider.clientOf("10.0.0.9");
    expect(decider.decideAddress(client, "203.0.113.1", "tcp", 443)).toMatchObject({ reason: "expired" });
  });

  test("a denial that expires denies no more", () => {
    expect(outcome(decide("10.0.0.9", "blocked.wild.example.com", "2026-12-01T12:00:00Z"))).toBe(
      "denied-explicit: deny lists blocked.wild.example.com",
    );
    expect(outcome(decide("10.0.0.9", "blocked.wild.example.com", "2026-12-02T12:00:00Z"))).toBe("allow");
  });

  test("without a clock windows are open and nothing has expired", () => {
    const decider = buildDecider(policy);
    const names = ["past.example.com", "night.wild.example.com", "blocked.wild.example.com"];
    const verdicts = names.map((name) => decider.decideName(decider.clientOf("10.0.0.1"), name).verdict);
    expect(verdicts).toEqual(["allow", "allow", "deny"]);
  });

  test("explain says when it opens, closes and expires", () => {
    const lines = (decision: Decision, time: string): readonly string[] => {
      const note = noteHours(decision, at(time));
      return note === null ? [] : hoursLines(note);
    };
    const open = "2026-11-26T09:00:00Z";
    expect(lines(decide("10.0.0.1", "always.example.com", open), open)).toEqual([
      "  hours: mon-fri 09:00-17:00 Europe/Berlin",
      "  closes at: 2026-11-26T16:00:00Z",
    ]);
    const closed = "2026-11-28T09:00:00Z";
    expect(lines(decide("10.0.0.1", "always.example.com", closed), closed)).toEqual([
      "  hours: mon-fri 09:00-17:00 Europe/Berlin",
      "  opens at: 2026-11-30T08:00:00Z",
    ]);
    expect(lines(decide("10.0.0.9", "always.example.com", closed), closed)).toEqual([]);
  });
});

describe("what people are told", () => {
  test("the wrong zone, name and time each have their place", () => {
    const text = {
      version: 1,
      allow: { domains: ["a.example.com", { domain: "b.example.com", expires: "2026-02-30" }] },
      time_window: { start: "08:00", end: "18:00", tz: "Europe/Atlantis" },
      domain_time_windows: { "bad name": { start: "08:00", end: "18:00" } },
      hosts: { a: { sources: ["10.0.0.1"], time_window: { start: "08:00", end: "18:00", tz: "UTC+1" } } },
    };
    expect(issueTexts(text)).toEqual(
      expect.arrayContaining([
        '/allow/domains/1/expires: "2026-02-30" is no day or time',
        '/time_window/tz: "Europe/Atlantis" is no time zone',
        expect.stringMatching(/^\/domain_time_windows\/bad name: /),
        '/hosts/a/time_window/tz: "UTC+1" is no time zone',
      ]),
    );
  });

  test("hours of nothing, and hours that leave the subdomains open, are warned of", () => {
    const window = { start: "08:00", end: "18:00" };
    const text = {
      version: 1,
      allow: { domains: ["a.example.com", "*.a.example.com", "*.b.example.com"] },
      domain_time_windows: { "a.example.com": window, "c.example.com": window, "x.b.example.com": window },
    };
    expect(issueTexts(text)).toEqual([
      "/domain_time_windows/a.example.com: these hours are those of a.example.com alone, and its subdomains are listed too",
      '/domain_time_windows/c.example.com: no list contains "c.example.com", so its hours are unused',
    ]);
  });

  test("entries are warned of a week before they expire, once, and the policy is the same whenever it is read", () => {
    const bytes = Buffer.from(
      JSON.stringify({
        version: 1,
        allow: { domains: ["a.example.com", { domain: "b.example.com", expires: "2026-12-03" }] },
        deny: { ips: [{ network: "192.0.2.1", expires: "2026-12-03" }] },
        hosts: { one: { sources: ["10.0.0.1"], mode: "audit" } },
      }),
    );
    const read = (time: string): readonly string[] => {
      const result = parsePolicy(bytes, "policy.json", { nowS: at(time) });
      if (!result.ok) throw new Error("refused");
      return result.warnings.map(({ message }) => message).filter((message) => message.includes("expire"));
    };
    expect(read("2026-11-26T23:59:59Z")).toEqual([]);
    expect(read("2026-11-27T00:00:00Z")).toEqual([
      "b.example.com expires at 2026-12-04T00:00:00Z",
      "192.0.2.1/32 expires at 2026-12-04T00:00:00Z",
    ]);
    expect(read("2026-12-04T00:00:00Z")).toEqual([
      "b.example.com expired at 2026-12-04T00:00:00Z: it opens nothing any more",
      "192.0.2.1/32 expired at 2026-12-04T00:00:00Z: it denies nothing any more",
    ]);
    const policyAt = (time: string): unknown => parsePolicy(bytes, "policy.json", { nowS: at(time) });
    const policies = [policyAt("2026-11-26T00:00:00Z"), policyAt("2027-12-04T00:00:00Z")] as { policy: unknown }[];
    expect(policies[0]?.policy).toEqual(policies[1]?.policy);
  });

  test("the policy's own tests know no time unless they name one", () => {
    const text = (tests: readonly object[]): unknown => ({
      version: 1,
      allow: { domains: ["a.example.com", { domain: "old.example.com", expires: "2020-01-01" }] },
      time_window: { start: "08:00", end: "18:00" },
      tests,
    });
    const ask = { from: "*", to: "a.example.com:443" };
    const right = [
      { ...ask, expect: "allow" },
      { from: "*", to: "old.example.com", expect: "allow" },
      { ...ask, at: "2026-11-26T08:00:00Z", expect: "allow" },
      { ...ask, at: "2026-11-26T18:00:00Z", expect: "deny" },
      { from: "*", to: "old.example.com", at: "2026-11-26T08:00:00Z", expect: "deny" },
    ];
    expect(issueTexts(text(right))).toEqual([]);
    const wrong = { ...ask, at: "2026-11-26T07:00:00Z", expect: "allow" };
    expect(issueTexts(text([wrong]))[0]).toMatch(/^\/tests\/0: .* is denied \(outside-window: /);
    expect(issueTexts(text([{ ...wrong, at: "2026-02-30T00:00:00Z" }]))[0]).toMatch(/^\/tests\/0\/at: /);
  });

  test("hours and expiry are part of what changes", () => {
    expect(collectFacts(policy).filter((fact) => /^(hours|expiry|deny .*ends)/.test(fact))).toEqual([
      "deny for everyone ends: blocked.wild.example.com at 2026-12-02T00:00:00Z",
      "expiry for everyone without own rules: 203.0.113.0/24 at 2026-12-01T12:00:00Z",
      "expiry for everyone without own rules: grant.example.com at 2026-12-02T00:00:00Z",
      "expiry for everyone without own rules: past.example.com at 2026-11-02T00:00:00Z",
      "expiry for host night: 203.0.113.0/24 at 2026-12-01T12:00:00Z",
      "expiry for host night: grant.example.com at 2026-12-02T00:00:00Z",
      "expiry for host night: past.example.com at 2026-11-02T00:00:00Z",
      "expiry for host office: 203.0.113.0/24 at 2026-12-01T12:00:00Z",
      "expiry for host office: grant.example.com at 2026-12-02T00:00:00Z",
      "expiry for host office: past.example.com at 2026-11-02T00:00:00Z",
      "hours for everyone: *.wild.example.com daily 08:00-18:00 UTC",
      "hours for everyone: night.wild.example.com thu 22:00-06:00 UTC",
      "hours for host night: *.wild.example.com daily 20:00-21:00 UTC",
      "hours of host office: mon-fri 09:00-17:00 Europe/Berlin",
    ]);
  });
});
