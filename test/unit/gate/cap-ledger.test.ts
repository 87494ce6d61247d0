import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MarkedCap } from "../../../agent/compile/release.ts";
import { parseUsages, usagesText } from "../../../agent/gate/cap-file.ts";
import { capText } from "../../../agent/gate/cap-kernel.ts";
import {
  type CapChange,
  type KernelCaps,
  type KernelQuota,
  type KnownUsage,
  planCaps,
} from "../../../agent/gate/cap-ledger.ts";
import { periodEndMs, periodStartMs } from "../../../agent/policy/cap-period.ts";
import type { CapPeriod } from "../../../agent/policy/policy.ts";

const place = { file: "policy.json", line: 1, column: 1, pointer: "" };
const MARK = 0x7f_00_00_01 + 0x10_000;

function cap(bytes: number, period: CapPeriod = "hour", mark = MARK, name = "a.test"): MarkedCap {
  return { group: "one", pattern: { kind: "exact", name: name as never }, bytes, period, mark, place };
}

/** A kernel that does what it is told, and counts as nf_tables does: what is refused is counted, but not told. */
class Kernel {
  readonly quotas = new Map<number, { bytes: number; consumed: number }>();
  readonly linked = new Set<number>();
  readonly spent = new Set<number>();

  send(mark: number, bytes: number): number {
    const quota = this.quotas.get(mark);
    if (quota === undefined || !this.linked.has(mark) || this.spent.has(mark)) return 0;
    quota.consumed += bytes;
    return quota.consumed > quota.bytes ? 0 : bytes;
  }

  read(): KernelCaps {
    const told = [...this.quotas].map(([mark, { bytes, consumed }]): [number, KernelQuota] => [
      mark,
      { bytes, used: Math.min(bytes, consumed) },
    ]);
    return { quotas: new Map(told), linked: new Set(this.linked), spent: new Set(this.spent) };
  }

  write(changes: readonly CapChange[]): void {
    for (const change of changes) this.writeOne(change);
  }

  private writeOne(change: CapChange): void {
    const { mark } = change;
    const must = (isTrue: boolean): void => {
      if (!isTrue) throw new Error(`the kernel refuses ${JSON.stringify(change)}`);
    };
    if (change.kind === "unlink") must(this.linked.delete(mark));
    if (change.kind === "remove") must(!this.linked.has(mark) && this.quotas.delete(mark));
    if (change.kind === "create") {
      must(!this.quotas.has(mark) && change.used <= change.bytes);
      this.quotas.set(mark, { bytes: change.bytes, consumed: change.used });
    }
    if (change.kind === "resize") {
      const quota = this.quotas.get(mark);
      must(quota !== undefined);
      if (quota !== undefined) quota.bytes = change.bytes;
    }
    if (change.kind === "link") {
      must(this.quotas.has(mark) && !this.linked.has(mark));
      this.linked.add(mark);
    }
    if (change.kind === "spend") this.spent.add(mark);
    if (change.kind === "reopen") must(this.spent.delete(mark));
  }
}

/** A gate over that kernel; `restart` keeps what a file would. */
class Gate {
  known: ReadonlyMap<string, KnownUsage> = new Map();
  readonly kernel = new Kernel();

  look(caps: readonly MarkedCap[], nowMs: number): void {
    const plan = planCaps(caps, this.known, this.kernel.read(), nowMs);
    this.kernel.write(plan.changes);
    this.known = new Map<string, KnownUsage>([...plan.retired, ...plan.meters]);
  }

  restart(savedText: string): void {
    this.known = parseUsages(savedText) ?? new Map();
  }

  used(key = "one a.test hour"): number | undefined {
    return this.known.get(key)?.used;
  }
}

const HOUR_MS = 3_600_000;
const start = Date.UTC(2026, 10, 26, 10);

describe("periods", () => {
  test.each([
    ["second", "2026-03-29T01:59:59.999Z", "2026-03-29T01:59:59.000Z", "2026-03-29T02:00:00.000Z"],
    ["minute", "2026-03-29T01:59:59.999Z", "2026-03-29T01:59:00.000Z", "2026-03-29T02:00:00.000Z"],
    ["hour", "2026-03-29T01:00:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-29T02:00:00.000Z"],
    ["day", "2028-02-29T23:59:59.999Z", "2028-02-29T00:00:00.000Z", "2028-03-01T00:00:00.000Z"],
    ["day", "1969-12-31T23:00:00.000Z", "1969-12-31T00:00:00.000Z", "1970-01-01T00:00:00.000Z"],
  ] as const)("a %s that holds %s", (period, now, begin, end) => {
    const startMs = periodStartMs(period, Date.parse(now));
    expect(new Date(startMs).toISOString()).toBe(begin);
    expect(new Date(periodEndMs(period, startMs)).toISOString()).toBe(end);
  });

  test("every moment is in exactly one, and they follow each other without a gap", () => {
    const periods = fc.constantFrom<CapPeriod>("second", "minute", "hour", "day");
    fc.assert(
      fc.property(periods, fc.integer({ min: -1e13, max: 1e13 }), (period, nowMs) => {
        const startMs = periodStartMs(period, nowMs);
        const endMs = periodEndMs(period, startMs);
        expect(startMs <= nowMs && nowMs < endMs).toBe(true);
        expect(periodStartMs(period, endMs)).toBe(endMs);
        expect(periodStartMs(period, endMs - 1)).toBe(startMs);
      }),
    );
  });
});

describe("a cap", () => {
  test("counts from nothing, is used up, and opens in the next period", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start + 1000);
    expect(gate.kernel.send(MARK, 900)).toBe(900);
    expect(gate.kernel.send(MARK, 101)).toBe(0);
    gate.look([cap(1000)], start + 2000);
    expect(gate.used()).toBe(1000);
    expect(gate.kernel.spent).toEqual(new Set([MARK]));
    gate.look([cap(1000)], start + HOUR_MS - 1);
    expect(gate.kernel.send(MARK, 1)).toBe(0);
    gate.look([cap(1000)], start + HOUR_MS);
    expect(gate.used()).toBe(0);
    expect(gate.kernel.send(MARK, 900)).toBe(900);
  });

  test("goes on under other bytes; what it refused does not count", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start);
    gate.kernel.send(MARK, 990);
    gate.kernel.send(MARK, 5000);
    gate.look([cap(2000)], start + 1);
    expect(gate.used()).toBe(1000);
    expect(gate.kernel.send(MARK, 999)).toBe(999);
    gate.look([cap(500)], start + 2);
    expect(gate.kernel.spent).toEqual(new Set([MARK]));
    gate.look([cap(3000)], start + 3);
    expect(gate.used()).toBe(1999);
    expect(gate.kernel.send(MARK, 1001)).toBe(1001);
  });

  test("that a release takes away and another brings back goes on, as after a rollback", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start);
    gate.kernel.send(MARK, 700);
    gate.look([], start + 1);
    expect(gate.kernel.quotas.size + gate.kernel.linked.size).toBe(0);
    gate.look([cap(1000)], start + 2);
    expect(gate.kernel.send(MARK, 301)).toBe(0);
    gate.look([], start + 3);
    gate.look([], start + HOUR_MS);
    expect(gate.known.size).toBe(0);
  });

  test("keeps its count when its mark moves, and gives none away", () => {
    const [one, other] = [cap(1000), cap(1000, "hour", MARK + 1, "b.test")];
    const gate = new Gate();
    gate.look([one, other], start);
    gate.kernel.send(MARK, 100);
    gate.kernel.send(MARK + 1, 200);
    const third = cap(1000, "hour", MARK, "c.test");
    gate.look([third, { ...one, mark: MARK + 1 }, { ...other, mark: MARK + 2 }], start + 1);
    expect(gate.used("one a.test hour")).toBe(100);
    expect(gate.used("one b.test hour")).toBe(200);
    expect(gate.used("one c.test hour")).toBe(0);
    expect([...gate.kernel.quotas].map(([mark, { consumed }]) => [mark - MARK, consumed]).sort()).toEqual([
      [0, 0],
      [1, 100],
      [2, 200],
    ]);
  });

  test("goes on from the kernel's count when the gate starts again, and from the file's after a reboot", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start);
    gate.kernel.send(MARK, 400);
    gate.look([cap(1000)], start + 1);
    const saved = usagesText(gate.known.values());
    gate.kernel.send(MARK, 300);
    gate.restart(saved);
    gate.look([cap(1000)], start + 2);
    expect(gate.used()).toBe(700);

    const rebooted = new Gate();
    rebooted.restart(saved);
    rebooted.look([cap(1000)], start + 3);
    expect(rebooted.kernel.send(MARK, 601)).toBe(0);
  });

  test("of a gate that slept over the end of a period has what was sent since it looked last", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start);
    gate.kernel.send(MARK, 400);
    gate.look([cap(1000)], start + 1);
    gate.kernel.send(MARK, 300);
    gate.look([cap(1000)], start + HOUR_MS + 60_000);
    expect(gate.used()).toBe(300);
    expect(gate.kernel.quotas.get(MARK)?.consumed).toBe(300);
  });

  test("is not opened by a clock that goes back", () => {
    const gate = new Gate();
    gate.look([cap(1000)], start + HOUR_MS);
    gate.kernel.send(MARK, 1000);
    gate.look([cap(1000)], start + HOUR_MS + 1);
    gate.look([cap(1000)], start);
    gate.look([cap(1000)], start - 24 * HOUR_MS);
    expect(gate.kernel.send(MARK, 1)).toBe(0);
    gate.look([cap(1000)], start + 2 * HOUR_MS);
    expect(gate.kernel.send(MARK, 1)).toBe(1);
  });
});

test("whatever happens, no period lets more through than its largest cap, and the kernel takes every transaction", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("send" as const), bytes: fc.integer({ min: 1, max: 400 }) }),
    fc.record({ do: fc.constant("look" as const), bytes: fc.constantFrom(0, 500, 1000) }),
    fc.record({ do: fc.constant("wait" as const), bytes: fc.integer({ min: 1, max: 2_000_000 }) }),
    fc.record({ do: fc.constant("restart" as const), bytes: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const gate = new Gate();
      const passed = new Map<number, number>();
      let nowMs = start;
      let caps: readonly MarkedCap[] = [cap(1000)];
      gate.look(caps, nowMs);
      const act = (what: (typeof steps)[number]["do"], bytes: number): void => {
        if (what === "send") {
          const period = periodStartMs("hour", nowMs);
          passed.set(period, (passed.get(period) ?? 0) + gate.kernel.send(MARK, bytes));
        }
        if (what === "wait") {
          nowMs += bytes;
          // The gate runs, so it looks when a period ends.
          gate.look(caps, nowMs);
        }
        if (what === "look") {
          caps = bytes === 0 ? [] : [cap(bytes)];
          gate.look(caps, nowMs);
        }
        if (what === "restart") {
          gate.restart(usagesText(gate.known.values()));
          gate.look(caps, nowMs);
        }
      };
      for (const { do: what, bytes } of steps) act(what, bytes);
      for (const total of passed.values()) expect(total).toBeLessThanOrEqual(1000);
    }),
  );
});

describe("the file", () => {
  const usage = { group: "one", pattern: "*.a.test", period: "day", startMs: start, used: 5, mark: MARK } as const;

  test("holds what it was given", () => {
    expect([...(parseUsages(usagesText([usage, { ...usage, pattern: "b.test" }]))?.values() ?? [])]).toEqual([
      usage,
      { ...usage, pattern: "b.test" },
    ]);
    expect(parseUsages(usagesText([]))).toEqual(new Map());
  });

  test.each([
    ["nothing", ""],
    ["half of it", usagesText([usage]).slice(0, 40)],
    ["another schema", usagesText([usage]).replace('"schema":1', '"schema":2')],
    ["a count below zero", usagesText([{ ...usage, used: -1 }])],
    ["a count that is none", usagesText([{ ...usage, used: Number.NaN }])],
    ["an unknown period", usagesText([{ ...usage, period: "year" as never }])],
  ])("that is damaged is told from one: %s", (_, text) => {
    expect(parseUsages(text)).toBeNull();
  });
});

test("the kernel is told in checked numbers alone", () => {
  expect(
    capText([
      { kind: "create", mark: MARK, bytes: 5, used: 2 },
      { kind: "link", mark: MARK },
      { kind: "spend", mark: MARK },
    ]),
  ).toBe(
    `add quota inet clawgress cap_${MARK} { 5 bytes used 2 bytes }\n` +
      `add element inet clawgress exfil_quota { ${MARK} : "cap_${MARK}" }\n` +
      `add element inet clawgress exfil_spent { ${MARK} }\n`,
  );
  expect(() => capText([{ kind: "create", mark: MARK, bytes: 1.5, used: 0 }])).toThrow(RangeError);
  expect(() => capText([{ kind: "link", mark: "1 }; flush ruleset" as never }])).toThrow(RangeError);
});
