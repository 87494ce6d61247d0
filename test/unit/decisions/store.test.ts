import { appendFileSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DecisionKey, DecisionRow } from "../../../agent/decisions/decision.ts";
import { type DecisionStore, openDecisionStore } from "../../../agent/decisions/store.ts";
import { sumWindow } from "../../../agent/decisions/sum-decisions.ts";
import { readTelemetry, telemetryWindows } from "../../../agent/decisions/telemetry.ts";

const NOW_S = 1_800_000_000;

function keyOf(name: string | null, client = "10.0.0.1", verdict: DecisionKey["verdict"] = "deny"): DecisionKey {
  return {
    ...{ plane: "dns", verdict, reason: verdict === "allow" ? "allowed" : "dns-not-allowed", client, host: null, name },
    ...{ type: "A", destination: null, port: null, protocol: null, label: null, rule: null },
  };
}

function row(atS: number, name: string, count = 1): DecisionRow {
  return { atS, key: keyOf(name), count, bytesUp: 0, bytesDown: 0 };
}

function bench(more: Partial<{ maxRows: number; maxBytes: number; maxAgeS: number }> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-decisions-"));
  const clock = { nowS: NOW_S };
  const bounds = { maxRows: 1_000, maxBytes: 1e9, maxAgeS: 7 * 86_400, ...more };
  const open = (): DecisionStore => openDecisionStore({ ...bounds, folder, nowS: () => clock.nowS });
  const add = (store: DecisionStore, rows: readonly DecisionRow[], tally = "a/1"): void =>
    store.append(rows, { ...store.marks, tally: { ...store.marks.tally, gate: tally } });
  return { folder, clock, open, add };
}

/** What is stored of each key, whatever its number. */
function sumsOf(store: DecisionStore) {
  const { ids, count, bytesUp, bytesDown, firstS, lastS } = sumWindow(store, 0, 0xffff_ffff, 1);
  return ids.map((id) => ({
    ...{ key: store.keys.key(id), count: count[id] ?? 0, bytesUp: bytesUp[id], bytesDown: bytesDown[id] },
    ...{ firstS: firstS[id], lastS: lastS[id] },
  }));
}

const total = (store: DecisionStore): number => sumsOf(store).reduce((sum, { count }) => sum + count, 0);

describe("windows", () => {
  test("each holds exactly its seconds, whatever the rows", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 90_000 }), fc.integer({ min: 1, max: 9 })), { maxLength: 60 }),
        (ages) => {
          const { open, add } = bench();
          const store = open();
          for (const [ageS, count] of ages) add(store, [row(NOW_S - ageS, `n${ageS % 7}.test`, count)]);
          for (const [window, lengthS] of Object.entries(telemetryWindows)) {
            const wanted = ages.filter(([ageS]) => ageS < lengthS).reduce((sum, [, count]) => sum + count, 0);
            const query = { view: "denies", target: null, window: window as keyof typeof telemetryWindows } as const;
            const { totals, rows, slices } = readTelemetry(store, query, NOW_S);
            expect(totals.queriesDenied).toBe(wanted);
            expect(rows.reduce((sum, { queriesDenied }) => sum + queriesDenied, 0)).toBe(wanted);
            expect(slices.reduce((sum, { denied }) => sum + denied, 0)).toBe(wanted);
          }
          store.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  test("one that begins before anything was stored says so", () => {
    const { open, add, clock } = bench();
    const store = open();
    add(store, [row(NOW_S, "a.test")]);
    const query = { view: "agents", target: null, window: "1h" } as const;
    expect(readTelemetry(store, query, NOW_S)).toMatchObject({ complete: false });
    clock.nowS += 3600;
    expect(readTelemetry(store, query, clock.nowS)).toMatchObject({ complete: true });
  });
});

describe("a restart", () => {
  test("finds everything, and what it was read from", () => {
    const { open, add } = bench();
    const store = open();
    const traffic = { epoch: "e", counts: new Map([["10.0.0.1 7", { connections: 2, bytesUp: 10, bytesDown: 20 }]]) };
    add(store, [row(NOW_S, "a.test", 3), row(NOW_S, "b.test")], "gate/7");
    store.append([{ ...row(NOW_S, "c.test", 0), bytesUp: 5, bytesDown: 6 }], { ...store.marks, traffic });
    store.close();
    const again = open();
    expect(sumsOf(again)).toEqual(sumsOf(store));
    expect(again.marks.tally).toEqual({ gate: "gate/7", proxy: null });
    expect(again.marks.traffic).toEqual(traffic);
    add(again, [row(NOW_S, "a.test")]);
    again.close();
    expect(total(open())).toBe(5);
  });

  test("after a crash in the middle of a line loses that line and no other", () => {
    const { open, add, folder } = bench();
    const store = open();
    for (let at = 0; at < 10; at++) add(store, [row(NOW_S, `n${at}.test`)], `a/${at}`);
    store.close();
    const [file = ""] = readdirSync(folder);
    appendFileSync(join(folder, file), '{"at":1800000000,"keys":[],"rows":[[18');
    const again = open();
    expect(total(again)).toBe(10);
    expect(again.marks.tally.gate).toBe("a/9");
    again.close();
    const lines = readFileSync(join(folder, file), "utf8").split("\n");
    lines[4] = "\u0000\u0000garbage";
    writeFileSync(join(folder, file), lines.join("\n"));
    const damaged = open();
    expect(total(damaged)).toBe(9);
    expect(damaged.state().damagedLines).toBe(1);
  });
});

describe("bounds", () => {
  test("the oldest go when there are too many rows, and it says since when all are there", () => {
    const { open, add, clock, folder } = bench({ maxRows: 1_600 });
    const store = open();
    for (let at = 0; at < 40; at++) {
      clock.nowS += 60;
      add(
        store,
        Array.from({ length: 100 }, (_value, index) => row(clock.nowS, `n${at}-${index}.test`)),
      );
    }
    expect(store.state().rows).toBeLessThanOrEqual(1_600);
    expect(store.state().rows).toBeGreaterThan(1_400);
    expect(store.state().keys).toBe(store.state().rows);
    expect(store.state().completeSinceS).toBeGreaterThan(NOW_S + 20 * 60);
    expect(readdirSync(folder).length).toBeLessThanOrEqual(17);
    expect(sumsOf(store)).toHaveLength(store.state().rows);
  });

  test("the oldest go when they are too old, or too many bytes", () => {
    const { open, add, clock } = bench({ maxAgeS: 3600 });
    const store = open();
    for (let at = 0; at < 120; at++) {
      clock.nowS += 60;
      add(store, [row(clock.nowS, "a.test")]);
    }
    expect(store.segments[0]?.newestS).toBeGreaterThanOrEqual(clock.nowS - 3600 - 3600 / 16);
    const small = bench({ maxBytes: 64 * 1024 });
    const bytes = small.open();
    for (let at = 0; at < 400; at++)
      small.add(
        bytes,
        Array.from({ length: 8 }, (_v, index) => row(NOW_S, `n${at}-${index}.test`)),
      );
    const onDisk = readdirSync(small.folder).reduce((sum, name) => sum + statSync(join(small.folder, name)).size, 0);
    expect(onDisk).toBe(bytes.state().bytes);
    expect(onDisk).toBeLessThan(80 * 1024);
  });
});
