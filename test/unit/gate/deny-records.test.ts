import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { commonDetails, type Denial, type DenyRecord } from "../../../agent/gate/deny-record.ts";
import { createDenyRecords, type DenyRecords } from "../../../agent/gate/deny-records.ts";
import { openAppendLog } from "../../../agent/host/append-log.ts";

interface Bench {
  readonly records: DenyRecords;
  readonly lines: DenyRecord[];
  readonly errors: unknown[];
  nowS: number;
  isFull: boolean;
  note(client: string, reason?: Denial["reason"], count?: number): void;
}

function bench(): Bench {
  const lines: DenyRecord[] = [];
  const errors: unknown[] = [];
  const world = { nowS: 0, isFull: false };
  const records = createDenyRecords({
    gateway: "g",
    planes: ["dns", "ip"],
    log: {
      append: (line) => {
        if (world.isFull) throw new Error("no space left");
        lines.push(JSON.parse(line) as DenyRecord);
      },
    },
    nowMs: () => world.nowS * 1000,
    monotonicS: () => world.nowS,
    onError: (error) => errors.push(error),
  });
  return Object.assign(world, {
    ...{ lines, errors, records },
    note: (client: string, reason: Denial["reason"] = "dns-rate", count = 1) => {
      for (let index = 0; index < count; index++) {
        const describeIt = () => commonDetails("servfail", null, null, null);
        records.note({ plane: "dns", reason, client, target: "", describe: describeIt });
      }
    },
  });
}

const sum = (lines: readonly DenyRecord[]): number => lines.reduce((all, { suppressed }) => all + 1 + suppressed, 0);

describe("deny records", () => {
  test("of a client and reason are written ten at once, then one a second; the rest is counted in the next line", () => {
    const it = bench();
    it.note("a", "dns-rate", 30);
    expect(it.lines).toHaveLength(10);
    it.note("b");
    it.note("a", "not-ready");
    expect(it.lines).toHaveLength(12);
    it.nowS = 1;
    it.note("a", "dns-rate", 2);
    expect(it.lines).toHaveLength(13);
    expect(it.lines.at(-1)).toMatchObject({ ts: "1970-01-01T00:00:01.000Z", client: "a", count: 31, suppressed: 20 });
  });

  test("end with a closing line, so that the lines add up to all denials", () => {
    const it = bench();
    it.note("a", "dns-rate", 1000);
    it.records.flush();
    expect(it.lines).toHaveLength(10);
    it.nowS = 2;
    it.records.flush();
    it.records.flush();
    expect(it.lines).toHaveLength(11);
    expect(it.lines.at(-1)).toMatchObject({ ts: "1970-01-01T00:00:00.000Z", count: 1000, suppressed: 989 });
    expect(sum(it.lines)).toBe(1000);
    expect(it.records.totals()).toMatchObject({
      denied: { dns: { "dns-rate": 1000 }, ip: {} },
      written: 11,
      unattributed: 0,
    });
  });

  test("count what only the kernel's counter knows for the client's last reason", () => {
    const it = bench();
    it.note("a");
    it.records.noteUntold("dns", "a", 500);
    it.records.noteUntold("ip", "a", 3);
    it.records.noteUntold("dns", "unheard of", 2);
    it.records.flush();
    expect(it.lines).toHaveLength(2);
    expect(it.lines.at(-1)).toMatchObject({ client: "a", count: 501, suppressed: 499 });
    expect(it.records.totals().unattributed).toBe(5);
  });

  test("of ever new clients are bounded in all, a second and in memory", () => {
    const it = bench();
    for (let index = 0; index < 20_000; index++) it.note(`client ${index}`);
    expect(it.lines).toHaveLength(500);
    it.nowS = 10;
    it.records.flush();
    expect(it.lines).toHaveLength(1000);
    for (it.nowS = 20; it.nowS < 100; it.nowS += 10) it.records.flush();
    const { unattributed } = it.records.totals();
    expect(sum(it.lines) + unattributed).toBe(20_000);
    expect(unattributed).toBeGreaterThanOrEqual(15_000);
  });

  test("that cannot be written are told of once a minute, and not forgotten", () => {
    const it = bench();
    it.isFull = true;
    it.note("a", "dns-rate", 5);
    expect(it.errors).toHaveLength(1);
    it.nowS = 61;
    it.note("a");
    expect(it.errors).toHaveLength(2);
    it.isFull = false;
    it.records.flush();
    expect(it.lines).toHaveLength(1);
    expect(it.lines.at(-1)).toMatchObject({ count: 6, suppressed: 5 });
  });

  test("do not keep what they were described from once they are written", () => {
    const it = bench();
    let described = 0;
    const describeIt = () => {
      described += 1;
      return commonDetails("rst", null, null, null);
    };
    it.records.note({ plane: "ip", reason: "ip-not-allowed", client: "a", target: "", describe: describeIt });
    it.records.noteUntold("ip", "a", 1);
    it.records.flush();
    expect(it.lines).toHaveLength(2);
    expect(described).toBe(1);
  });
});

test("the file is bounded: full, it becomes the old one", () => {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-log-"));
  const path = join(folder, "sub", "deny.jsonl");
  const log = openAppendLog(path, { mode: 0o640, maxBytes: 100 });
  for (let index = 0; index < 25; index++) log.append(`line ${index}`.padEnd(19, "."));
  log.close();
  expect(statSync(path).size).toBeLessThanOrEqual(100);
  expect(readFileSync(`${path}.1`, "utf8").split("\n")).toHaveLength(6);
  expect(readFileSync(path, "utf8")).toContain("line 24");
  const again = openAppendLog(path, { mode: 0o640, maxBytes: 100 });
  again.append("x".repeat(99));
  again.rewrite([]);
  again.append("y");
  again.close();
  expect(readFileSync(path, "utf8")).toBe("y\n");
  rmSync(folder, { recursive: true });
});
