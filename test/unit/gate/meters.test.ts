import { beforeEach, describe, expect, test } from "vitest";
import type { MarkedCap } from "../../../agent/compile/release.ts";
import type { CapChange, KernelQuota } from "../../../agent/gate/cap-ledger.ts";
import { type CapPairs, createCapPairs } from "../../../agent/gate/cap-pairs.ts";
import type { LiveGrant } from "../../../agent/gate/grant-table.ts";
import { createMeters, type Meters } from "../../../agent/gate/meters.ts";

const place = { file: "policy.json", line: 1, column: 1, pointer: "" };
const MARK = 0x7f_01_00_09;
const cap: MarkedCap = {
  ...{
    group: "one",
    pattern: { kind: "exact", name: "a.test" as never },
    bytes: 1000,
    period: "hour",
    mark: MARK,
    place,
  },
};
const start = Date.UTC(2026, 10, 26, 10);

let nowMs: number;
let file: string | null;
let saves: number;
let quotas: Map<number, KernelQuota>;
let written: (readonly CapChange[])[];
let events: object[];
let isBroken: boolean;

beforeEach(() => {
  [nowMs, file, saves, quotas, written, events, isBroken] = [start, null, 0, new Map(), [], [], false];
});

function open(): Meters {
  const note = (event: object): void => void events.push(event);
  return createMeters({
    readKernel: async () => ({ quotas, linked: new Set(quotas.keys()), spent: new Set() }),
    readQuotas: async () => {
      if (isBroken) throw new Error("no table");
      return quotas;
    },
    write: async (changes) => {
      written.push(changes);
      for (const change of changes) {
        if (change.kind === "create") quotas.set(change.mark, change);
        if (change.kind === "remove") quotas.delete(change.mark);
      }
    },
    load: async () => file,
    save: async (text) => {
      saves += 1;
      file = text;
    },
    nowMs: () => nowMs,
    log: { info: note, warn: note, error: note } as never,
  });
}

function count(used: number): void {
  quotas.set(MARK, { bytes: 1000, used });
}

describe("meters", () => {
  test("save what was counted every few seconds, and at once when a cap is reached", async () => {
    const meters = open();
    await meters.activate([cap]);
    const first = saves;
    count(100);
    nowMs += 1000;
    await meters.look();
    expect(saves).toBe(first);
    nowMs += 4000;
    await meters.look();
    expect(file).toContain('"used":100');
    count(1000);
    nowMs += 1000;
    await meters.look();
    expect(file).toContain('"used":1000');
    expect(events).toEqual([expect.objectContaining({ event: "cap-reached", host: "one", pattern: "a.test" })]);
    expect(meters.usageOf(MARK)).toMatchObject({ used: 1000, isSpent: true, endMs: start + 3_600_000 });
  });

  test("look again when the period ends, and open it", async () => {
    const meters = open();
    await meters.activate([cap]);
    count(1000);
    nowMs = start + 3_600_000 - 300;
    expect(await meters.look()).toBe(305);
    nowMs += 305;
    expect(await meters.look()).toBe(500);
    expect(meters.usageOf(MARK)).toMatchObject({ used: 0, isSpent: false });
    expect(written.at(-1)?.map(({ kind }) => kind)).toEqual(["unlink", "remove", "create", "link", "reopen"]);
    expect(events.at(-1)).toMatchObject({ event: "cap-open-again" });
    expect(file).toContain(`"startMs":${start + 3_600_000}`);
  });

  test("go on from their file after a reboot", async () => {
    const before = open();
    await before.activate([cap]);
    count(600);
    await before.look();
    await before.close();
    quotas = new Map();
    const after = open();
    await after.activate([cap]);
    expect(quotas.get(MARK)).toMatchObject({ bytes: 1000, used: 600 });
  });

  test("take every cap for used up when their file is damaged, until its period ends", async () => {
    file = '{"schema":1,"usag';
    const meters = open();
    await meters.activate([cap]);
    expect(meters.usages()).toEqual([expect.objectContaining({ isSpent: true })]);
    expect(events).toContainEqual(expect.objectContaining({ event: "usage-damaged" }));
    nowMs += 3_600_000;
    await meters.look();
    expect(meters.usages()).toEqual([expect.objectContaining({ isSpent: false, used: 0 })]);
  });

  test("keep what they know while the kernel cannot be read", async () => {
    const meters = open();
    await meters.activate([cap]);
    count(300);
    await meters.look();
    isBroken = true;
    await expect(meters.look()).rejects.toThrow("no table");
    expect(meters.usageOf(MARK)?.used).toBe(300);
    isBroken = false;
    quotas = new Map();
    await meters.activate([cap]);
    expect(quotas.get(MARK)?.used).toBe(300);
  });

  test("read nothing for a policy without caps", async () => {
    const meters = open();
    await meters.activate([]);
    isBroken = true;
    expect(await meters.look()).toBe(500);
    expect(written.flat()).toEqual([]);
  });
});

describe("which grant counts for which cap", () => {
  const live = (grant: number, name: string): LiveGrant => ({
    ...{ groupMark: 5, groupName: "one" },
    grant: { mark: grant, name, range: { protocol: "tcp", first: 443, last: 443 } },
  });
  let pairs: CapPairs;
  beforeEach(() => {
    pairs = createCapPairs();
  });

  test("is told with the grant, changed with the policy, and taken back with either", () => {
    const capOf = (_group: string, name: string): number | null => (name === "a.test" ? MARK : null);
    expect(pairs.add([live(1, "a.test"), live(2, "b.test")], capOf)).toEqual([
      { kind: "cap", group: 5, grant: 1, before: MARK, mark: MARK },
    ]);
    const both = [live(1, "a.test"), live(2, "b.test")];
    expect(pairs.reconcile(both, capOf)).toEqual([]);
    expect(pairs.reconcile(both, () => MARK + 1)).toEqual([
      { kind: "cap", group: 5, grant: 1, before: MARK, mark: MARK + 1 },
      { kind: "cap", group: 5, grant: 2, before: MARK + 1, mark: MARK + 1 },
    ]);
    expect(pairs.reconcile([live(2, "b.test")], () => null)).toEqual([
      { kind: "uncap", group: 5, grant: 1, before: MARK + 1 },
      { kind: "uncap", group: 5, grant: 2, before: MARK + 1 },
    ]);
  });

  test("is taken over from the kernel, without what nobody can explain", () => {
    pairs.restore([
      { group: 5, grant: 1, mark: MARK },
      { group: 6, grant: 9, mark: MARK },
    ]);
    expect(pairs.reconcile([live(1, "a.test")], () => MARK)).toEqual([
      { kind: "uncap", group: 6, grant: 9, before: MARK },
    ]);
  });
});
