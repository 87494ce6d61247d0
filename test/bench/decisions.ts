import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DecisionRow } from "../../agent/decisions/decision.ts";
import { type DecisionStore, openDecisionStore } from "../../agent/decisions/store.ts";
import { readTelemetry, type TelemetryView } from "../../agent/decisions/telemetry.ts";
import { createTally } from "../../agent/gate/tally.ts";
import { monotonicMs } from "../../agent/host/clock.ts";
import type { Measure, Row } from "./row.ts";
import { median } from "./statistics.ts";

const NOW_S = 1_800_000_000;
const DAY_S = 86_400;
const BATCH = 1_000;

/** The stored decisions: a window over a day of them, storing 10,000 a second, and what counting costs the gate. */
export const measureDecisions: Measure = async ({ quick, say }) => {
  const count = quick ? 50_000 : 1_000_000;
  const kinds = count / 10;
  const folder = mkdtempSync(join(tmpdir(), "clawgress-bench-"));
  try {
    say(`${count.toLocaleString("en")} rows`);
    const size = `${count.toLocaleString("en")} rows of ${kinds.toLocaleString("en")} kinds`;
    const bounds = { folder, maxRows: 1_000_000, maxBytes: 1e9, maxAgeS: 7 * DAY_S, nowS: () => NOW_S };
    const store = openDecisionStore(bounds);
    const storeMs = fill(store, count, kinds);
    const viewMs = (view: TelemetryView): number =>
      median(Array.from({ length: 9 }, () => timed(() => readTelemetry(store, { ...aDay, view }, NOW_S))));
    const agentsMs = viewMs("agents");
    const widest = (["domains", "denies"] as const).map((view) => ({ view, ms: viewMs(view) }));
    const slowest = widest.reduce((a, b) => (a.ms >= b.ms ? a : b));
    store.close();
    const openMs = timed(() => openDecisionStore(bounds).close());
    const other = null;
    const rows: Row[] = [
      {
        what: `window of 24 h, ${size}`,
        unit: "ms",
        ours: agentsMs,
        other,
        goal: "≤ 200",
        how: "9 rounds, median; all sums by agent, the chart and the totals",
      },
      {
        what: `the same where each kind has a row, ${size}`,
        unit: "ms",
        ours: slowest.ms,
        other,
        goal: "≤ 200",
        how: `9 rounds, median; the slower one of ${widest.map(({ view }) => view).join(" and ")}, which is ${slowest.view}: its 1,000 largest rows, the chart and the totals`,
      },
      {
        what: `store 10,000 decisions, ${size}`,
        unit: "ms",
        ours: (storeMs / count) * 10_000,
        other,
        goal: "≤ 1,000",
        how: `in batches of ${BATCH}, to disk; what a flood of 10,000 denials a second costs the process of the API each second`,
      },
      { what: `start with ${size}`, unit: "ms", ours: openMs, other, goal: null, how: "read from disk" },
      {
        what: "count and hand over 10,000 denials, each another name",
        unit: "ms",
        ours: tallyMs(quick ? 2 : 20),
        other,
        goal: null,
        how: "in the gate, each second of a flood; equal denials cost a look into a map",
      },
    ];
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const aDay = { target: null, window: "24h" } as const;

function timed(work: () => unknown): number {
  const startedMs = monotonicMs();
  work();
  return monotonicMs() - startedMs;
}

function fill(store: DecisionStore, count: number, kinds: number): number {
  return timed(() => {
    for (let at = 0; at < count; at += BATCH) {
      const atS = NOW_S - DAY_S + 1 + Math.floor((at / count) * (DAY_S - 1));
      const rows = Array.from({ length: BATCH }, (_value, index) => rowOf(atS, (at * 7 + index * 13) % kinds));
      store.append(rows, { ...store.marks, tally: { ...store.marks.tally, gate: `bench/${at}` } });
    }
  });
}

function rowOf(atS: number, kind: number): DecisionRow {
  return { atS, key: keyOf(kind), count: 1 + (kind % 3), bytesUp: 0, bytesDown: 0 };
}

function keyOf(kind: number): DecisionRow["key"] {
  const client = `10.${Math.floor(kind / 250) % 4}.0.${kind % 250}`;
  return {
    ...{ plane: "dns", verdict: "deny", reason: "dns-not-allowed", client, host: null, name: `n${kind}.example.com` },
    ...{ type: "A", destination: null, port: null, protocol: null, label: null, rule: null },
  };
}

/** Returns what a second with 10,000 distinct denials costs, fetched at its end. */
function tallyMs(seconds: number): number {
  let nowMs = NOW_S * 1000;
  const tally = createTally({ epoch: "bench", nowMs: () => nowMs });
  let ack: string | null = null;
  const totalMs = timed(() => {
    for (let second = 0; second < seconds; second++) {
      for (let kind = 0; kind < 10_000; kind++)
        tally.add(`dns deny ${second} ${kind}`, { count: 1 }, () => keyOf(second * 10_000 + kind));
      nowMs += 1000;
      for (let more = true; more; ) {
        const batch = tally.take(ack);
        JSON.stringify(batch);
        [ack, more] = [batch.id, batch.more];
      }
    }
  });
  return totalMs / seconds;
}
