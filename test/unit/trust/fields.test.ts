import { expect, test } from "vitest";
import { formatTime, parseTime } from "../../../agent/trust/fields.ts";

test("a time is a second that there is, in UTC, in one spelling", () => {
  const atMs = Date.UTC(2028, 1, 29, 23, 59, 59);
  expect(parseTime("2028-02-29T23:59:59Z")).toBe(atMs);
  expect(formatTime(atMs)).toBe("2028-02-29T23:59:59Z");
});

test.each([
  "2027-02-30T00:00:00Z",
  "2027-02-29T00:00:00Z",
  "2027-13-01T00:00:00Z",
  "2027-01-01T24:00:00Z",
  "2027-01-01T00:00:60Z",
  "2027-01-01T00:00:00.000Z",
  "2027-01-01T00:00:00+00:00",
  "2027-01-01",
  "1999-12-31T23:59:59Z",
  "",
])("%j is no time", (text) => {
  expect(parseTime(text)).toBeNull();
});
