import { expect, test } from "vitest";
import { countExpiring } from "../../../agent/gate/gate-facts.ts";
import { validPolicy } from "../../support/policy-text.ts";

test("entries that expire are counted until they have", () => {
  const entry = (domain: string, expires: string) => ({ domain, expires });
  const policy = validPolicy({
    version: 1,
    allow: {
      domains: [
        entry("a.test", "2026-12-01T12:00:00Z"),
        entry("b.test", "2026-12-07T00:00:00Z"),
        entry("c.test", "2026-12-30T00:00:00Z"),
        entry("d.test", "2027-12-30T00:00:00Z"),
        "e.test",
      ],
    },
  });
  const at = (time: string) => countExpiring(policy, Date.parse(time) / 1000);
  expect(at("2026-12-01T00:00:00Z")).toEqual({ "1d": 1, "7d": 2, "30d": 3 });
  expect(at("2026-12-01T12:00:00Z")).toEqual({ "1d": 0, "7d": 1, "30d": 2 });
});
