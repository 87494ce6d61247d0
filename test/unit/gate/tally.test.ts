import { describe, expect, test } from "vitest";
import type { DecisionKey } from "../../../agent/decisions/decision.ts";
import { createTally, type Tally, type TallyBatch } from "../../../agent/gate/tally.ts";

const NOW_MS = 1_800_000_000_000;
const keyOf = (name: string | null, client = "10.0.0.1"): DecisionKey => ({
  ...{ plane: "dns", verdict: "deny", reason: "dns-not-allowed", client, host: null, name, type: "A" },
  ...{ destination: null, port: null, protocol: null, label: null, rule: null },
});

function bench(saved = "") {
  const clock = { nowMs: NOW_MS };
  const tally = createTally({ epoch: `e${saved.length}`, nowMs: () => clock.nowMs, saved });
  const add = (name: string, count = 1, client?: string): void =>
    tally.add(`${name} ${client}`, { count }, () => keyOf(name, client));
  return { clock, tally, add };
}

/** Takes all that there is, each batch acknowledged by the next call. */
function takeAll(
  tally: Tally,
  ack: string | null = null,
): { readonly sum: number; readonly last: string | null; rows: number } {
  let [sum, last, rows] = [0, ack, 0];
  for (;;) {
    const batch: TallyBatch = tally.take(last);
    for (const [, count] of batch.rows) sum += count;
    rows += batch.rows.length;
    if (batch.rows.length > 0) last = batch.id;
    if (!batch.more) return { sum, last, rows };
  }
}

describe("a tally", () => {
  test("gives the same batch until it is acknowledged, and nothing twice", () => {
    const { tally, add } = bench();
    add("a.test", 2);
    const first = tally.take(null);
    add("b.test");
    expect(tally.take(null).rows).toEqual(first.rows);
    expect(tally.take("another/1").id).toBe(first.id);
    const second = tally.take(first.id);
    expect(second.rows.map(([, count]) => count)).toEqual([1]);
    expect(tally.take(second.id).rows).toEqual([]);
    // An empty batch needs no answer.
    add("c.test");
    expect(tally.take(second.id).rows).toHaveLength(1);
  });

  test("keeps seconds apart, and what is equal in one together", () => {
    const { tally, add, clock } = bench();
    for (let at = 0; at < 5; at++) add("a.test");
    clock.nowMs += 1000;
    add("a.test");
    expect(tally.take(null).rows.map(([atS, count]) => [atS - NOW_MS / 1000, count])).toEqual([
      [0, 5],
      [1, 1],
    ]);
  });

  test("what is not acknowledged goes to the next gate, under its old name", () => {
    const before = bench();
    before.add("a.test", 3);
    const sent = before.tally.take(null);
    before.add("b.test", 4);
    const after = bench(before.tally.save());
    after.add("c.test", 5);
    // The first batch was stored, and the answer got lost.
    expect(takeAll(after.tally, sent.id).sum).toBe(9);
    expect(takeAll(bench(before.tally.save()).tally).sum).toBe(7);
    expect(takeAll(bench("damaged").tally).sum).toBe(0);
  });

  test("a flood of names that nobody fetches is bounded, and every sum stays", () => {
    const { tally, clock } = bench();
    let added = 0;
    for (let second = 0; second < 20; second++) {
      for (let at = 0; at < 8_000; at++) {
        const name = `${second}-${at}.test`;
        tally.add(name, { count: 1 }, () => keyOf(name, `10.0.${at % 50}.1`));
        added += 1;
      }
      clock.nowMs += 1000;
    }
    const { sum, rows } = takeAll(tally);
    expect(sum).toBe(added);
    expect(rows).toBeLessThan(110_000);
  });
});
