import { expect, test } from "vitest";
import { summarizeRecords } from "../../../agent/report/summarize-records.ts";

const line = (fields: object): string =>
  JSON.stringify({
    ...{ schema: 1, ts: "2026-01-02T00:00:00.000Z", client: "10.0.0.1", host: null, suppressed: 0 },
    ...{ name: null, destination: null, port: null, protocol: null },
    ...fields,
  });

test("lines add up, and the most frequent come first", () => {
  const summary = summarizeRecords(
    [
      line({ name: "b.test" }),
      line({ name: "a.test", ts: "2026-01-01T00:00:00.000Z" }),
      line({ name: "a.test", client: "10.0.0.2", host: "two", suppressed: 9, ts: "2026-01-03T00:00:00.000Z" }),
      line({ destination: "192.0.2.1", port: 443, protocol: "tcp" }),
      line({ destination: "2001:db8::1", port: 53, protocol: "udp" }),
      line({ destination: "192.0.2.1", protocol: "icmp" }),
      line({ verdict: "allow", destination: "192.0.2.9", port: 443, protocol: "tcp", name: "c.test" }),
    ],
    2,
  );
  expect(summary).toEqual({
    ...{ lines: 6, allowed: 1, damaged: 0, denials: 15, suppressed: 9 },
    ...{ from: "2026-01-01T00:00:00.000Z", to: "2026-01-03T00:00:00.000Z" },
    names: [
      { what: "a.test", lines: 2, denials: 11 },
      { what: "b.test", lines: 1, denials: 1 },
    ],
    destinations: [
      { what: "192.0.2.1 icmp", lines: 1, denials: 1 },
      { what: "192.0.2.1:443/tcp", lines: 1, denials: 1 },
    ],
    clients: [
      { what: "10.0.0.2 (two)", lines: 1, denials: 10 },
      { what: "10.0.0.1", lines: 5, denials: 5 },
    ],
  });
});

test.each([
  "",
  "{",
  "null",
  "[]",
  line({ schema: 2 }),
  line({ suppressed: -1 }),
  line({ suppressed: 1e99 }),
  line({ ts: 5 }),
  line({ name: {} }),
  line({ client: null }),
])("what is no record is counted as damaged: %s", (text) => {
  expect(summarizeRecords([text], 5)).toMatchObject({ lines: 0, damaged: 1, denials: 0, names: [], clients: [] });
});
