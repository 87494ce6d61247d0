import { beforeEach, describe, expect, test } from "vitest";
import { assignMark, NAME_GRANT_MAX, NAME_GRANT_MIN } from "../../../agent/compile/marks.ts";
import type { LiveGrant } from "../../../agent/gate/grant-table.ts";
import { journalLine, parseJournal } from "../../../agent/gate/journal.ts";
import type { KernelChange } from "../../../agent/gate/kernel-change.ts";
import {
  createLedger,
  type Ledger,
  type NameAccess,
  type PolicyView,
  sweepExpired,
  unpinnedLive,
} from "../../../agent/gate/ledger.ts";
import { type Bounds, type PinResult, pinAnswer } from "../../../agent/gate/pin-answer.ts";
import { reconcile } from "../../../agent/gate/reconcile-pins.ts";
import { restoreLedger } from "../../../agent/gate/restore-ledger.ts";
import type { PortRange } from "../../../agent/policy/policy.ts";

const https: PortRange = { protocol: "tcp", first: 443, last: 443 };
const http: PortRange = { protocol: "tcp", first: 80, last: 80 };
const bounds: Bounds = {
  ...{ maxPinsPerClient: 10, maxPinsPerGroup: 20, maxPins: 100, sparedPins: 3 },
  ...{ maxLiveGrants: 8, maxLiveGrantsPerGroup: 8 },
};
const markOf = (name: string, port: number): number =>
  assignMark(`name ${name} ${port}/tcp`, NAME_GRANT_MIN, NAME_GRANT_MAX, () => false);
const access = (...classes: (readonly [number, PortRange])[]): NameAccess => ({
  groupMark: 9,
  groupName: "g",
  classes: classes.map(([portClass, range]) => ({ portClass, range })),
});
const onHttps = access([1, https]);

let ledger: Ledger;
beforeEach(() => {
  ledger = createLedger();
});

const answer = (
  name: string,
  address: string,
  ttlS: number,
  nowS: number,
  by = onHttps,
  client = "10.0.0.1",
  siblings = [client],
): PinResult =>
  pinAnswer(ledger, { client, siblings, name, access: by, addresses: [{ family: 4, address, ttlS }] }, bounds, nowS);
const changesOf = (result: PinResult): readonly KernelChange[] => {
  if (!result.ok) throw new Error(`over the bound of ${result.bound}`);
  return result.changes;
};
/** A policy that allows some names with some classes. */
const allowing = (names: { readonly [name: string]: NameAccess }, mayReach = true): PolicyView => ({
  accessOf: (_client, name) => names[name] ?? null,
  mayReach: () => mayReach,
  capOf: () => null,
  hoursOf: ({ grant }) => names[grant.name]?.classes.find(({ range }) => range.first === grant.range.first)?.hours,
  remembers: () => false,
  stands: ({ groupMark, grant }: LiveGrant) =>
    names[grant.name]?.groupMark === groupMark &&
    (names[grant.name]?.classes.some(({ range }) => range.first === grant.range.first) ?? false),
});

describe("an answer", () => {
  test("opens each class with the grant of the name and the range, and the grants first", () => {
    const changes = changesOf(answer("a.x", "192.0.2.1", 60, 1000, access([1, https], [2, http])));
    const pin = { kind: "pin", family: 4, owner: "10.0.0.1", address: "192.0.2.1", timeoutS: 120 };
    const [first, second] = [markOf("a.x", 443), markOf("a.x", 80)];
    expect(changes).toEqual([
      { kind: "live", group: 9, grant: first },
      { kind: "live", group: 9, grant: second },
      { ...pin, portClass: 1, before: first, grant: first },
      { ...pin, portClass: 2, before: second, grant: second },
    ]);
    expect(ledger.pins).toBe(2);
  });

  test.each([
    [0, 90],
    [30, 90],
    [31, 91],
    [300, 360],
  ])("with a time to live of %i s stays open for %i s", (ttlS, timeoutS) => {
    expect(changesOf(answer("a.x", "192.0.2.1", ttlS, 0)).at(-1)).toMatchObject({ timeoutS });
  });

  test("writes nothing while the kernel keeps its pins 10 s longer than the client keeps the answer", () => {
    answer("a.x", "192.0.2.1", 60, 1000);
    expect(changesOf(answer("a.x", "192.0.2.1", 60, 1049))).toEqual([]);
    expect(changesOf(answer("a.x", "192.0.2.1", 60, 1050))).toHaveLength(1);
  });

  test("with the same address twice has it once, with the longer time", () => {
    const addresses = [5, 300, 5].map((ttlS) => ({ family: 4 as const, address: "192.0.2.1", ttlS }));
    const from = { client: "10.0.0.1", siblings: ["10.0.0.1"] };
    const result = pinAnswer(ledger, { ...from, name: "a.x", access: onHttps, addresses }, bounds, 0);
    expect(changesOf(result).filter(({ kind }) => kind === "pin")).toMatchObject([{ timeoutS: 360 }]);
  });

  test("for a second name of an address takes the pin over and never shortens it", () => {
    answer("a.x", "192.0.2.1", 300, 0);
    const [, pin] = changesOf(answer("b.x", "192.0.2.1", 5, 10));
    expect(pin).toMatchObject({ before: markOf("a.x", 443), grant: markOf("b.x", 443), timeoutS: 350 });
  });

  test("over the client's bound of pins changes nothing, and another client is not concerned", () => {
    for (let index = 0; index < 10; index++) answer("a.x", `192.0.2.${index}`, 60, 0);
    expect(answer("a.x", "192.0.2.99", 60, 0)).toEqual({ ok: false, bound: "pins" });
    expect(answer("a.x", "192.0.2.3", 60, 200).ok).toBe(true);
    expect(answer("a.x", "192.0.2.99", 60, 0, onHttps, "10.0.0.2").ok).toBe(true);
    expect(ledger.pins).toBe(11);
  });

  test("is counted with those of the machine's other addresses, and again without them once they are over", () => {
    const one = "10.0.0.1";
    const both = [one, "10.0.0.2"];
    for (let index = 0; index < 10; index++) answer("a.x", `192.0.2.${index}`, 60, 0);
    expect(answer("a.x", "192.0.2.9", 60, 0, onHttps, "10.0.0.2", both)).toEqual({ ok: false, bound: "pins" });
    sweepExpired(ledger, 1000);
    expect(ledger.pinsOf.size).toBe(0);
    expect(answer("a.x", "192.0.2.9", 60, 1000, onHttps, "10.0.0.2", both).ok).toBe(true);
  });

  test("when more than half of all is taken, goes to machines that have little, and to no other", () => {
    const from = (client: number, index: number): PinResult =>
      answer("a.x", `192.0.2.${index}`, 60, 0, onHttps, `10.0.0.${client}`);
    for (let client = 1; client <= 5; client++) for (let index = 0; index < 10; index++) from(client, index);
    expect(ledger.pins).toBe(50);
    expect(from(9, 1).ok && from(9, 2).ok && from(9, 3).ok).toBe(true);
    expect(from(9, 4)).toEqual({ ok: false, bound: "pins" });
    expect(from(8, 1).ok).toBe(true);
  });

  test("over what a group may have in force changes nothing for it, and another group has its own", () => {
    const scarce = { ...bounds, maxLiveGrants: 4, maxLiveGrantsPerGroup: 2 };
    const of = (groupMark: number, name: string): PinResult =>
      pinAnswer(
        ledger,
        {
          ...{ client: "10.0.0.1", siblings: ["10.0.0.1"], name, access: { ...onHttps, groupMark } },
          addresses: [{ family: 4, address: "192.0.2.1", ttlS: 60 }],
        },
        scarce,
        0,
      );
    expect(
      [of(9, "a.x"), of(9, "b.x"), of(9, "c.x"), of(8, "c.x"), of(8, "d.x"), of(7, "e.x")].map(({ ok }) => ok),
    ).toEqual([true, true, false, true, true, false]);
    // What is in force already is no more of it.
    expect(of(9, "a.x").ok).toBe(true);
  });

  test("over the bound of its group changes nothing for that group, though one client asked for all of it", () => {
    const askOver4 = (index: number, groupMark: number): PinResult => {
      const addresses = [{ family: 6 as const, address: `2001:db8::${index}`, ttlS: 60 }];
      const from = { client: "10.0.0.1", siblings: ["10.0.0.1"] };
      return pinAnswer(ledger, { ...from, name: "a.x", access: { ...onHttps, groupMark }, addresses }, bounds, 0);
    };
    for (let index = 1; index <= 20; index++) expect(askOver4(index, 9).ok).toBe(true);
    expect(askOver4(21, 9)).toEqual({ ok: false, bound: "pins" });
    expect(askOver4(3, 9).ok).toBe(true);
    expect(askOver4(21, 8).ok).toBe(true);
  });

  test("over the bound of grants changes nothing, and the refused numbers do not pile up", () => {
    for (let index = 0; index < 8; index++) answer(`n${index}.x`, "192.0.2.1", 60, 0);
    for (let index = 0; index < 100; index++) {
      expect(answer(`m${index}.x`, "192.0.2.1", 60, 0)).toEqual({ ok: false, bound: "grants" });
    }
    expect(ledger.grants.byText.size).toBeLessThanOrEqual(17);
    expect(answer("n3.x", "192.0.2.1", 60, 500).ok).toBe(true);
  });
});

describe("a new policy", () => {
  test("takes back pin and grant of the removed name, and leaves the others", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    answer("b.x", "192.0.2.2", 60, 0);
    const { changes } = reconcile(ledger, allowing({ "b.x": onHttps }), 10);
    expect(changes).toEqual([
      { kind: "unlive", group: 9, grant: markOf("a.x", 443) },
      { kind: "unpin", family: 4, owner: "10.0.0.1", address: "192.0.2.1", portClass: 1, before: markOf("a.x", 443) },
    ]);
    expect(ledger.pins).toBe(1);
    expect(reconcile(ledger, allowing({ "b.x": onHttps }), 11).changes).toEqual([]);
  });

  test("gives a shared pin to the other name, for as long as that one's answer holds", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    answer("b.x", "192.0.2.1", 300, 10);
    const { changes } = reconcile(ledger, allowing({ "a.x": onHttps }), 20);
    expect(changes).toContainEqual(
      expect.objectContaining({ kind: "pin", before: markOf("b.x", 443), grant: markOf("a.x", 443), timeoutS: 100 }),
    );
    expect(changes.filter(({ kind }) => kind === "unpin")).toEqual([]);
  });

  test("with other classes pins kept names under them, with new grants in force", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    const { changes, added } = reconcile(ledger, allowing({ "a.x": access([5, https], [6, http]) }), 20);
    expect(changes.filter(({ kind }) => kind === "unpin")).toMatchObject([{ portClass: 1 }]);
    expect(changes.filter(({ kind }) => kind === "pin")).toMatchObject([
      { portClass: 5, grant: markOf("a.x", 443), timeoutS: 100 },
      { portClass: 6, grant: markOf("a.x", 80) },
    ]);
    expect(added.map(({ grant }) => grant.mark)).toEqual([markOf("a.x", 80)]);
  });

  test("under which the client may no longer be led to the address closes it, though the name stays", () => {
    answer("a.x", "10.9.9.9", 60, 0);
    const { changes } = reconcile(ledger, allowing({ "a.x": onHttps }, false), 10);
    expect(changes).toMatchObject([{ kind: "unpin", address: "10.9.9.9" }]);
  });
});

describe("time", () => {
  test("what the kernel dropped is forgotten a little later, and its grant is then unpinned but in force", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    sweepExpired(ledger, 124);
    expect(ledger.pins).toBe(1);
    expect(unpinnedLive(ledger)).toEqual([]);
    sweepExpired(ledger, 125);
    expect(ledger.pins).toBe(0);
    expect(ledger.owners.size).toBe(0);
    expect(unpinnedLive(ledger).map(({ grant }) => grant.name)).toEqual(["a.x"]);
  });
});

describe("after a crash", () => {
  const kernel = (): Parameters<typeof restoreLedger>[1] => ({
    capPairs: [],
    pins: [...ledger.owners].flatMap(([owner, own]) =>
      [...own].flatMap(([address, { family, elements }]) =>
        [...elements].map(([portClass, { grant, expiresS }]) => ({
          family,
          owner,
          address,
          portClass,
          grant,
          expiresInS: expiresS - 10,
        })),
      ),
    ),
    live: [...ledger.grants.live.values()].map(({ groupMark, grant }) => ({ group: groupMark, grant: grant.mark })),
  });
  const journal = (): string => [...ledger.grants.live.values()].map(journalLine).join("\n");

  test("journal and kernel give the same ledger", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    answer("b.x", "192.0.2.2", 60, 0);
    const fresh = createLedger();
    expect(restoreLedger(fresh, kernel(), parseJournal(journal()), 10)).toEqual([]);
    expect(fresh).toEqual(ledger);
  });

  test("what no journal line tells is taken back; pairs of networks are the apply's", () => {
    answer("a.x", "192.0.2.1", 60, 0);
    const state = kernel();
    const fresh = createLedger();
    const withNetwork = { ...state, live: [...state.live, { group: 9, grant: 0x4000_0001 }] };
    const changes = restoreLedger(fresh, withNetwork, parseJournal("{broken\n"), 10);
    expect(changes.map(({ kind }) => kind)).toEqual(["unlive", "unpin"]);
    expect(fresh.pins).toBe(0);
  });

  test.each([
    "",
    "null",
    "[]",
    "{}",
    '{"grant":0,"groupMark":1,"group":"g","name":"a","range":"443/tcp"}',
    '{"grant":65536,"groupMark":1,"group":"g","name":"a","range":"443 }"}',
    '{"grant":65536,"groupMark":1,"group":"g","name":"a","range":"443/tc',
  ])("the journal line %j is skipped", (line) => {
    expect(parseJournal(line)).toEqual([]);
  });
});
