import fc from "fast-check";
import { expect, test } from "vitest";
import { type DecisionKey, type DecisionRow, planes, verdicts } from "../../../agent/decisions/decision.ts";
import { createKeyTable } from "../../../agent/decisions/key-table.ts";
import { createRedaction } from "../../../agent/decisions/redact.ts";
import { addRow, createSegment } from "../../../agent/decisions/segment.ts";
import { selectFirst } from "../../../agent/decisions/select-first.ts";
import { readTelemetry, type TelemetryView, telemetryViews } from "../../../agent/decisions/telemetry.ts";

/** Every view beside a count of the same rows that knows no columns, no numbers and no heap. */

const NOW_S = 1_800_000_000;

test("the first of many are those that sorting finds, ties and all", () => {
  const item = fc.record({ weight: fc.nat(4), id: fc.nat(50) });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 120 }), fc.nat(60), (items, max) => {
      const compare = (a: (typeof items)[number], b: (typeof items)[number]) => b.weight - a.weight || a.id - b.id;
      expect(selectFirst(items, max, compare)).toEqual([...items].sort(compare).slice(0, max));
    }),
  );
});

const keys: fc.Arbitrary<DecisionKey> = fc.record({
  plane: fc.constantFrom(...planes),
  verdict: fc.constantFrom(...verdicts),
  reason: fc.constantFrom("allowed", "dns-not-allowed"),
  client: fc.constantFrom("10.0.0.1", "10.0.0.2", null),
  // A host may be called as an address is written.
  host: fc.constantFrom("ci", "10.0.0.1", null),
  name: fc.constantFrom("a.x.test", "b.x.test", null),
  type: fc.constantFrom("A", "AAAA", null),
  destination: fc.constantFrom("203.0.113.7", "203.0.113.9", null),
  port: fc.constantFrom(443, 80, null),
  protocol: fc.constantFrom("tcp", null),
  label: fc.constantFrom("", "llm", null),
  rule: fc.constant(null),
});

const rows: fc.Arbitrary<readonly DecisionRow[]> = fc.array(
  fc.record({
    atS: fc.integer({ min: NOW_S - 100, max: NOW_S + 2 }),
    key: keys,
    ...{ count: fc.nat(3), bytesUp: fc.nat(9), bytesDown: fc.nat(9) },
  }),
  { maxLength: 40 },
);

function storeOf(stored: readonly DecisionRow[]) {
  const table = createKeyTable(1_000);
  const segments = [0, 1].map((half) => {
    const part = stored.filter((_row, index) => index % 2 === half);
    const segment = createSegment(half, Math.max(1, part.length), 0);
    for (const { key, ...row } of part) addRow(segment, { ...row, keyId: table.take(key, false) ?? -1 });
    return segment;
  });
  const state = () => ({ rows: stored.length, keys: table.size, bytes: 0, completeSinceS: 0, damagedLines: 0 });
  return { keys: table, segments, state };
}

const fields: { readonly [view in TelemetryView]: (key: DecisionKey) => object } = {
  agents: ({ host, client }) => ({ agent: host ?? client, host }),
  domains: ({ name }) => ({ domain: name }),
  agent: ({ name, destination, port, protocol, label, rule }) => ({
    ...{ domain: name, label, rule },
    ...(name === null ? { destination, port, protocol } : { destination: null, port: null, protocol: null }),
  }),
  domain: ({ host, client, type }) => ({ agent: host ?? client, host, type }),
  denies: (key) => ({ ...key, agent: key.host ?? key.client }),
  export: (key) => ({ ...key }),
};

function isMeant(view: TelemetryView, target: string | null, { host, client, name, verdict }: DecisionKey): boolean {
  const meant = {
    agent: (host ?? client) === target || client === target,
    domain: name === target,
    domains: name !== null,
    denies: verdict !== "allow",
  };
  return view === "agents" || view === "export" || meant[view];
}

/** Order and absence of fields mean nothing. */
function canonical(by: object): string {
  return JSON.stringify(Object.entries(by).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const targets = { agent: "10.0.0.1", domain: "a.x.test" } as const;

test.each(telemetryViews)("the view %s", (view) => {
  const target = view === "agent" || view === "domain" ? targets[view] : null;
  fc.assert(
    fc.property(rows, fc.boolean(), (stored, isRedacted) => {
      const redact = isRedacted ? createRedaction(Buffer.alloc(32, 1)) : null;
      const told = readTelemetry(storeOf(stored), { view, target, window: "1m" }, NOW_S, redact);
      const wanted = new Map<
        string,
        readonly [decisions: number, up: number, down: number, first: number, last: number]
      >();
      const meant = stored.filter(({ atS, key }) => atS > NOW_S - 60 && atS <= NOW_S && isMeant(view, target, key));
      for (const { atS, key, count, bytesUp, bytesDown } of meant) {
        const id = canonical(fields[view](redact === null ? key : redact(key)));
        const [decisions, up, down, first, last] = wanted.get(id) ?? [0, 0, 0, atS, atS];
        const times = [Math.min(first, atS), Math.max(last, atS)] as const;
        wanted.set(id, [decisions + count, up + bytesUp, down + bytesDown, ...times]);
      }
      const got = told.rows.map((row) => {
        const { queries, queriesDenied, connections, connectionsDenied, packetsDenied, wouldDeny } = row;
        const decisions = queries + queriesDenied + connections + connectionsDenied + packetsDenied + wouldDeny;
        const times = [Date.parse(row.firstSeen) / 1000, Date.parse(row.lastSeen) / 1000] as const;
        return [canonical(row.by), [decisions, row.bytesUp, row.bytesDown, ...times]] as const;
      });
      expect(new Map(got)).toEqual(wanted);
      expect(got).toHaveLength(wanted.size);
      expect(told.totals.bytesUp).toBe(meant.reduce((sum, { bytesUp }) => sum + bytesUp, 0));
      const weights = got.map(([, [decisions]]) => decisions);
      expect(weights).toEqual([...weights].sort((a, b) => b - a));
    }),
    { numRuns: 60 },
  );
});

test("of more rows than an answer has, the smallest are left out, and are in the totals", () => {
  const stored = Array.from({ length: 1_500 }, (_value, index): DecisionRow => {
    const key = {
      ...nothing,
      plane: "dns",
      verdict: "deny",
      reason: "dns-not-allowed",
      name: `n${index}.test`,
    } as const;
    return { atS: NOW_S, key, count: index, bytesUp: 0, bytesDown: 0 };
  });
  const table = createKeyTable(2_000);
  const segment = createSegment(1, stored.length, 0);
  for (const { key, ...row } of stored) addRow(segment, { ...row, keyId: table.take(key, false) ?? -1 });
  const store = { ...storeOf([]), keys: table, segments: [segment] };
  const told = readTelemetry(store, { view: "domains", target: null, window: "1m" }, NOW_S);
  expect(told.rowsLeftOut).toBe(500);
  expect(told.rows.map(({ queriesDenied }) => queriesDenied)).toEqual(
    Array.from({ length: 1_000 }, (_value, index) => 1_499 - index),
  );
  expect(told.totals.queriesDenied).toBe((1_499 * 1_500) / 2);
});

const nothing = {
  ...{ client: null, host: null, name: null, type: null, destination: null },
  ...{ port: null, protocol: null, label: null, rule: null },
};
