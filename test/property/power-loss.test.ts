import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test, vi } from "vitest";
import { readBadReleases, rememberBadRelease } from "../../agent/apply/bad-releases.ts";
import type { ApplyContext } from "../../agent/apply/context.ts";
import { addToHistory, readHistory } from "../../agent/apply/history.ts";
import { readHold, writeHold } from "../../agent/apply/hold-notes.ts";
import { openRelease, storeRelease } from "../../agent/apply/release-store.ts";
import { settleConfirmed } from "../../agent/apply/start-enforcing.ts";
import { readTimerNote, writeTimerNote } from "../../agent/apply/timer-note.ts";
import {
  armTransaction,
  closeConfirmed,
  closeRevert,
  readTransaction,
  winTransaction,
} from "../../agent/apply/transaction.ts";
import { compile } from "../../agent/compile/compile.ts";
import type { Release } from "../../agent/compile/release.ts";
import { createLineLog } from "../../agent/host/event-log.ts";
import {
  assertOwnState,
  initialisePointers,
  readPointers,
  writeConfirmed,
  writeVerified,
} from "../../agent/host/pointer-store.ts";
import { answerRequests } from "../../agent/operator/requests.ts";
import { defaultCompileSettings } from "../../agent/settings/parse-settings.ts";
import { emptyPointers } from "../../agent/trust/pointers.ts";
import { seededRandom } from "../faults/random.ts";
import { policyOf } from "../support/compile-samples.ts";
import { listLosses, readDisk, writeDisk } from "../support/power-loss.ts";
import { recordSteps } from "../support/recorded-files.ts";

/**
 * The power goes after any step of what an apply writes, and of what was not synced by then any part is lost: what a start
 * finds is the old state or the new one, and the new one from the moment on at which it was promised.
 */

vi.mock("node:fs/promises", () => import("../support/recorded-files.ts"));

const identity = { gateway: "gw-1", repository: "acme-egress" };
const at = "2026-01-02T03:04:05.000Z";
const commits = { old: "a".repeat(40), next: "b".repeat(40) };
const releases = { old: releaseOf("a.example.com"), next: releaseOf("b.example.com") };
const random = seededRandom(20_260_102);
const root = mkdtempSync(join(tmpdir(), "clawgress-power-"));
let state: string;
let count = 0;

beforeEach(() => {
  count += 1;
  state = join(root, `state-${count}`);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function releaseOf(domain: string): Release {
  const policy = policyOf({ version: 1, allow: { domains: [domain], ports: [443] } });
  return compile({ policy, settings: defaultCompileSettings });
}

const pathsIn = (folder: string) => ({
  releases: join(folder, "releases"),
  pointers: join(folder, "pointers"),
  transaction: join(folder, "txn"),
  history: join(folder, "history.json"),
  bad: join(folder, "bad-releases.json"),
  note: join(folder, "txn", "reverted-by-timer.json"),
  lockdown: join(folder, "lockdown.json"),
});
const provenance = (which: "old" | "next") => {
  return { commit: commits[which], serial: which === "old" ? 1 : 2, repository: "acme-egress", approvedBy: ["alice"] };
};
const pointer = (which: "old" | "next") => {
  const { commit, serial } = provenance(which);
  return { release: releases[which].digest, serial, commit, at, whole: null };
};
const transaction = {
  ...{ id: "f".repeat(32), next: releases.next.digest, nextTable: "n" },
  ...{ previous: releases.old.digest, previousTable: "t" },
  ...{ commit: commits.next, serial: 2, deadlineMs: 1 },
};

/** A gateway that has confirmed its first release. */
async function openOld(): Promise<void> {
  const paths = pathsIn(state);
  await initialisePointers(paths.pointers, identity);
  await storeRelease(paths.releases, releases.old, provenance("old"));
  await writeConfirmed(paths.pointers, pointer("old"));
  await addToHistory(paths.history, pointer("old"));
}

/** What a start makes of a folder: the very steps of `startEnforcing` that read and write files. */
async function recover(folder: string): Promise<"old" | "next"> {
  const paths = pathsIn(folder);
  await assertOwnState(paths.pointers, identity);
  await winTransaction(paths.transaction, "reverting");
  const log = createLineLog("test", 2);
  await settleConfirmed({ paths, log: { ...log, warn: () => {} } } as unknown as ApplyContext);
  const { confirmed } = await readPointers(paths.pointers);
  const found = (["old", "next"] as const).find((which) => releases[which].digest === confirmed.release);
  if (found === undefined) throw new Error(`the release in force is ${confirmed.release}`);
  expect(confirmed).toMatchObject({ commit: commits[found], serial: provenance(found).serial });
  await openRelease(paths.releases, releases[found].digest);
  return found;
}

type Steps = Awaited<ReturnType<typeof recordSteps>>;

/** Tries every loss after every step. Returns how many states there were. */
async function loseEverywhere(
  start: ReturnType<typeof readDisk>,
  steps: Steps,
  judge: (folder: string, done: number) => Promise<void>,
): Promise<number> {
  let states = 0;
  for (let done = 0; done <= steps.length; done += 1) {
    for (const disk of listLosses(start, steps, done, random)) {
      states += 1;
      const folder = writeDisk(disk, state);
      try {
        await judge(folder, done);
      } catch (error) {
        const text = steps.slice(0, done).map(({ kind, ...step }) => `${kind} ${"path" in step ? step.path : ""}`);
        throw new Error(`after step ${done} (${text.slice(-4).join(", ")}): ${(error as Error).message}`);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
  return states;
}

test("GE2: a change that is confirmed: the old release until it is won, the new one from then on", {
  timeout: 120_000,
}, async () => {
  await openOld();
  const start = readDisk(state);
  const paths = pathsIn(state);
  const mark = { tried: 0, won: 0 };
  const steps = await recordSteps(async (written) => {
    await storeRelease(paths.releases, releases.next, provenance("next"), releases.old.digest);
    await armTransaction(paths.transaction, transaction);
    mark.tried = written();
    await winTransaction(paths.transaction, "confirmed");
    mark.won = written();
    await writeConfirmed(paths.pointers, pointer("next"));
    await addToHistory(paths.history, pointer("next"));
    await closeConfirmed(paths.transaction);
  });
  const seen = { old: 0, next: 0 };
  await loseEverywhere(start, steps, async (folder, done) => {
    const found = await recover(folder);
    seen[found] += 1;
    if (done <= mark.tried) expect(found).toBe("old");
    if (done >= mark.won) expect(found).toBe("next");
    expect((await readHistory(pathsIn(folder).history)).length).toBeGreaterThan(0);
    // A second power cut while it was put right changes nothing.
    expect(await recover(folder)).toBe(found);
  });
  expect(Math.min(seen.old, seen.next)).toBeGreaterThan(20);
});

test("GE2: a change that is undone: the old release throughout, and what was bad stays known", {
  timeout: 120_000,
}, async () => {
  await openOld();
  const paths = pathsIn(state);
  await storeRelease(paths.releases, releases.next, provenance("next"), releases.old.digest);
  const start = readDisk(state);
  const mark = { remembered: 0, noted: 0 };
  const steps = await recordSteps(async (written) => {
    await armTransaction(paths.transaction, transaction);
    await winTransaction(paths.transaction, "reverting");
    const bad = { digest: releases.next.digest, commit: commits.next, serial: 2, reason: "late", at };
    await rememberBadRelease(paths.bad, bad);
    mark.remembered = written();
    await writeTimerNote(paths.note, { commit: commits.next, serial: 2, outcome: "reverted", message: "late", at });
    mark.noted = written();
    await closeRevert(paths.transaction);
  });
  const states = await loseEverywhere(start, steps, async (folder, done) => {
    const lost = pathsIn(folder);
    expect(await recover(folder)).toBe("old");
    expect(await readTransaction(lost.transaction, "armed")).toBeNull();
    if (done >= mark.remembered) expect(await readBadReleases(lost.bad)).toHaveLength(1);
    if (done >= mark.noted) expect(await readTimerNote(lost.note)).toMatchObject({ outcome: "reverted" });
  });
  expect(states).toBeGreaterThan(40);
});

test("GE2: what was verified, and a lockdown: never lost once said, never garbage", { timeout: 120_000 }, async () => {
  await openOld();
  const start = readDisk(state);
  const paths = pathsIn(state);
  const verified = { ...emptyPointers.verified, serial: 7, lockDigest: "c".repeat(64), commit: commits.next, at };
  const mark = { verified: 0, locked: 0 };
  const steps = await recordSteps(async (written) => {
    await writeVerified(paths.pointers, verified);
    mark.verified = written();
    await writeHold(paths.lockdown, { by: "carol", reason: "agent-3 is compromised", since: at });
    mark.locked = written();
  });
  const states = await loseEverywhere(start, steps, async (folder, done) => {
    const lost = pathsIn(folder);
    const { serial } = (await readPointers(lost.pointers)).verified;
    expect([0, 7]).toContain(serial);
    if (done >= mark.verified) expect(serial).toBe(7);
    if (done >= mark.locked) expect(await readHold(lost.lockdown)).toMatchObject({ by: "carol" });
    expect(await recover(folder)).toBe("old");
  });
  expect(states).toBeGreaterThan(20);
});

test("GE2: what an operator asked for is not done twice: the request is gone for good before it is begun", async () => {
  await openOld();
  const folders = { requests: join(state, "requests"), answers: join(state, "answers") };
  mkdirSync(folders.requests);
  const request = { verb: "rollback", serial: null, by: "carol", reason: "builds fail" };
  writeFileSync(join(folders.requests, `${"d".repeat(32)}.json`), JSON.stringify(request));
  const start = readDisk(state);
  let begun = 0;
  const steps = await recordSteps(async (written) => {
    await answerRequests(folders, async () => {
      begun = written();
      return { ok: true, message: "done" };
    });
  });
  const left = new Set<number>();
  await loseEverywhere(start, steps, async (folder, done) => {
    const { length } = readdirSync(join(folder, "requests"));
    if (done < begun) left.add(length);
    else expect(length).toBe(0);
  });
  expect(left).toEqual(new Set([0, 1]));
});

test("GE2: a state folder that is being made is there as a whole, or not at all", { timeout: 120_000 }, async () => {
  const paths = pathsIn(state);
  const start = { names: new Map<string, number | null>([[state, null]]), bytes: new Map<number, Buffer>() };
  const steps = await recordSteps(async () => await initialisePointers(paths.pointers, identity));
  const seen = { absent: 0, whole: 0 };
  await loseEverywhere(start, steps, async (folder) => {
    const lost = pathsIn(folder);
    const isThere = await initialisePointers(lost.pointers, identity).then(
      () => false,
      () => true,
    );
    seen[isThere ? "whole" : "absent"] += 1;
    await assertOwnState(lost.pointers, identity);
    expect((await readPointers(lost.pointers)).notes).toEqual([]);
  });
  expect(Math.min(seen.absent, seen.whole)).toBeGreaterThan(0);
});

test("GE2: a write that is not synced before it takes its name is found out", async () => {
  await openOld();
  const start = readDisk(state);
  const { rename, open } = await import("node:fs/promises");
  const target = join(pathsIn(state).pointers, "confirmed.a.json");
  const steps = await recordSteps(async () => {
    const handle = await open(`${target}.tmp`, "wx");
    await handle.writeFile("{}");
    await handle.close();
    await rename(`${target}.tmp`, target);
  });
  const found = new Set<string>();
  await loseEverywhere(start, steps, async (folder) => {
    const { notes } = await readPointers(pathsIn(folder).pointers);
    found.add(notes.length > 0 ? "damaged" : "sound");
  });
  expect(found).toEqual(new Set(["sound", "damaged"]));
});
