import { beforeEach, expect, test } from "vitest";
import type { KernelChange } from "../../../agent/gate/kernel-change.ts";
import type { NameAccess, PolicyView } from "../../../agent/gate/ledger.ts";
import { createPins, type Pins } from "../../../agent/gate/pins.ts";
import type { KernelState } from "../../../agent/gate/restore-ledger.ts";

const access: NameAccess = {
  groupMark: 9,
  groupName: "g",
  classes: [{ portClass: 1, range: { protocol: "tcp", first: 443, last: 443 } }],
};
const allowAll: PolicyView = {
  accessOf: () => access,
  mayReach: () => true,
  capOf: () => null,
  stands: () => true,
  hoursOf: () => undefined,
  remembers: () => false,
};

let nowS: number;
let written: (readonly KernelChange[])[];
let journal: string[];
let kernel: KernelState;
let flowMarks: ReadonlySet<number> | null;
let mismatches: number;
let release: (() => void) | null;
let fails: boolean;
let pins: Pins;

beforeEach(() => {
  [nowS, written, journal, mismatches, release, fails, flowMarks] = [0, [], [], 0, null, false, new Set()];
  kernel = { pins: [], live: [], capPairs: [] };
  pins = createPins({
    writer: {
      write: async (changes) => {
        written.push(changes);
        if (release === null) await Promise.resolve();
        else await new Promise<void>((resolve) => (release = resolve));
        if (fails) throw new Error("refused");
      },
      drain: async () => {},
      close: () => {},
    },
    readKernel: async () => kernel,
    readFlowMarks: async () => {
      if (flowMarks === null) throw new Error("not listed");
      return flowMarks;
    },
    journal: {
      append: (line) => journal.push(line),
      rewrite: (lines) => {
        journal = [...lines];
      },
      close: () => {},
    },
    bounds: {
      ...{ maxPinsPerClient: 100, maxPinsPerGroup: 100, maxPins: 100, sparedPins: 50 },
      ...{ maxLiveGrants: 3, maxLiveGrantsPerGroup: 3 },
    },
    nowS: () => nowS,
    onMismatch: () => {
      mismatches += 1;
    },
  });
});

const pin = (name: string, client = "10.0.0.1"): ReturnType<Pins["pin"]> =>
  pins.pin({ client, siblings: [client], name, access, addresses: [{ family: 4, address: "192.0.2.1", ttlS: 60 }] });

test("an answer that needs nothing new still waits for the write that it rests on, and fails with it", async () => {
  release = () => {};
  const first = pin("a.x");
  let isDone = false;
  const second = pin("a.x").finally(() => {
    isDone = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(isDone).toBe(false);
  expect(written).toHaveLength(1);
  fails = true;
  release();
  expect(await Promise.all([first, second])).toEqual(["failed", "failed"]);
  expect(mismatches).toBe(1);
});

test("a grant is in the journal before it is in the kernel", async () => {
  release = () => {};
  const pinned = pin("a.x");
  expect(journal.map((line) => JSON.parse(line))).toMatchObject([{ group: "g", name: "a.x", range: "443/tcp" }]);
  release();
  expect(await pinned).toBe("pinned");
});

test("near their bound, grants without pins and flows are taken back, and no others", async () => {
  for (const name of ["flow.x", "idle.x"]) await pin(name);
  nowS = 1000;
  await pin("new.x");
  const markOf = (name: string): number =>
    [...pins.ledger.grants.live.values()].find(({ grant }) => grant.name === name)?.grant.mark ?? 0;
  const idle = markOf("idle.x");
  flowMarks = new Set([markOf("flow.x")]);
  expect(await pin("more.x")).toBe("over-bound");
  expect(pins.collectedGrants()).toBe(0);
  await pins.tidy();
  expect(pins.collectedGrants()).toBe(1);
  expect(written.at(-1)).toEqual([{ kind: "unlive", group: 9, grant: idle }]);
  expect(journal.map((line) => JSON.parse(line).name)).toEqual(["flow.x", "new.x"]);
  expect(await pin("more.x")).toBe("pinned");
});

test("when the flows cannot be listed, every grant stays", async () => {
  for (const name of ["a.x", "b.x", "c.x"]) await pin(name);
  nowS = 1000;
  flowMarks = null;
  const before = written.length;
  await expect(pins.tidy()).rejects.toThrow("not listed");
  expect(pins.collectedGrants()).toBe(0);
  expect(written).toHaveLength(before);
  expect(pins.ledger.grants.live.size).toBe(3);
});

test("after a failed write the kernel's word counts: what it lacks is written anew", async () => {
  fails = true;
  expect(await pin("a.x")).toBe("failed");
  fails = false;
  await pins.recover([], allowAll);
  expect(pins.ledger.pins).toBe(1);
  expect(written.at(-1)?.map(({ kind }) => kind)).toEqual(["pin", "live"]);
  expect(await pin("a.x")).toBe("pinned");
});

test("while it recovers nothing is pinned", async () => {
  const recovered = pins.recover([], allowAll);
  expect(await pin("a.x")).toBe("failed");
  await recovered;
  expect(await pin("a.x")).toBe("pinned");
});

test("who gets another group finds its grants there before the policy is put in force", async () => {
  await pin("a.x");
  const moves = new Map([[9, [{ groupMark: 11, groupName: "other" }]]]);
  const grant = [...pins.ledger.grants.live.values()][0]?.grant.mark;
  written = [];
  await pins.anticipate(allowAll, moves);
  expect(written).toEqual([[{ kind: "live", group: 11, grant }]]);
  written = [];
  await pins.anticipate(allowAll, moves);
  await pins.anticipate({ ...allowAll, stands: () => false }, new Map([[9, [{ groupMark: 12, groupName: "narrow" }]]]));
  await pins.anticipate(allowAll, new Map());
  expect(written).toEqual([]);
  // What was anticipated and does not come is taken back.
  await pins.activate({ ...allowAll, stands: ({ groupMark }) => groupMark === 9 });
  expect(written.flat()).toEqual([{ kind: "unlive", group: 11, grant }]);
});
