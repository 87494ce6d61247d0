import { existsSync } from "node:fs";
import { cp, mkdir, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runChecked } from "../../agent/host/run.ts";
import { ALWAYS_ALLOWED, policyOf } from "../faults/campaign.ts";
import { type Load, startLoad } from "../faults/load.ts";
import { listDifferences, readDecided } from "../faults/whole.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type Fault, type LogLine, setUpGateway, type TestGateway } from "../support/gateway.ts";

/**
 * A disk without room, without inodes, or read-only, at one write or another of an apply: the old policy stays in force, whole,
 * everybody is told, and once there is room the very same commit is in force, without anybody's help.
 */

const PAGE_BYTES = 4_096;
const ROOM = "64m";
let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
let load: Load;
let count = 0;
let standing = "n0.wild.test";
const policy = (name: string) => policyOf(lab, name);
const mount = async (...argv: string[]): Promise<string> => await runChecked(["mount", ...argv], { timeoutMs: 10_000 });
const folderOf = (which: "state" | "run"): string => join(gateway.folder, which);

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(standing) });
  const copy = join(lab.folder, "copy");
  await cp(folderOf("state"), copy, { recursive: true });
  for (const which of ["state", "run"] as const) {
    await mkdir(folderOf(which), { recursive: true });
    await mount("-t", "tmpfs", "-o", `mode=0755,size=${ROOM}`, "clawgress-test", folderOf(which));
  }
  await cp(copy, folderOf("state"), { recursive: true, preserveTimestamps: true });
  await runChecked(["chmod", "0700", join(folderOf("state"), "pointers")], { timeoutMs: 5_000 });
  await rm(copy, { recursive: true });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
  load = await startLoad(lab, ALWAYS_ALLOWED);
});

afterAll(async () => {
  await load?.stop();
  await agent?.kill("SIGTERM");
  for (const which of ["state", "run", "state", "run"] as const) {
    // Twice: a test may have ended while a folder was mounted read-only over itself.
    await runChecked(["umount", "-l", folderOf(which)], { timeoutMs: 5_000 }).catch(() => {});
  }
  await lab?.stop();
});

/** Leaves a folder so much room beyond what it has in it. */
async function leave(
  which: "state" | "run",
  left: { readonly pages: number } | { readonly inodes: number },
): Promise<void> {
  // Somebody may write in between, and no folder gets less room than it uses.
  await eventually(`there is no more room in ${which}`, async () => {
    const { blocks, bfree, files, ffree } = await statfs(folderOf(which));
    const limit =
      "pages" in left
        ? `size=${(blocks - bfree + left.pages) * PAGE_BYTES}`
        : `nr_inodes=${files - ffree + left.inodes}`;
    return await mount("-o", `remount,${limit}`, folderOf(which)).then(
      () => true,
      () => false,
    );
  });
}

async function giveRoom(which: "state" | "run"): Promise<void> {
  await mount("-o", `remount,size=${ROOM},nr_inodes=100000`, folderOf(which));
}

const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";

/** Returns how the commit ended while there was no room. */
async function applyWithout(spoil: () => Promise<void>, mend: () => Promise<void>): Promise<string> {
  count += 1;
  const old = standing;
  const next = `n${count}.wild.test`;
  await spoil();
  const seen = (await gateway.log()).length;
  const commit = await gateway.commit(policy(next));
  const ends = ["cycle-failed", "cycle-confirmed", "cycle-refused", "cycle-rolled-back", "cycle-rollback-failed"];
  let end: LogLine | undefined;
  await eventually("the agent has tried it", async () => {
    const lines = (await gateway.log()).slice(seen);
    end = lines.find(({ event, commit: of }) => ends.includes(event) && (of === commit || of === null));
    return end !== undefined;
  });
  if (end?.event === "cycle-failed") {
    expect((await readDecided(gateway)).commit).not.toBe(commit);
    // It is tried again at every poll: what counts is what stands in the end.
    await eventually(
      "the old release is in force, whole",
      async () => (await listDifferences(lab, gateway)).length === 0,
    );
    expect(await reaches(old)).toBe(true);
    expect(end["code"]).toMatch(/^HOST_FILE$|^APPLY_NO_TIMER$/);
    if (end["commit"] === commit) {
      await eventually("its status says so", async () =>
        (await lab.statuses.posted()).some(({ sha, state }) => sha === commit && state === "error"),
      );
    }
  } else expect(end?.event).toBe("cycle-confirmed");
  await mend();
  expect((await gateway.awaitStatus(commit, ["success", "failure"])).state).toBe("success");
  await eventually("it is in force", async () => (await readDecided(gateway)).commit === commit);
  await eventually("all of it", async () => (await listDifferences(lab, gateway)).length === 0);
  standing = next;
  expect(await reaches(next)).toBe(true);
  expect(await reaches(old)).toBe(false);
  return end?.event === "cycle-failed" ? `held: ${end["reason"]}` : "in force";
}

const outcomes = new Map<string, string>();

/** Applies with no more room than that in a folder, and notes how it ended. */
async function applyLeaving(...[which, room]: Parameters<typeof leave>): Promise<void> {
  const end = await applyWithout(
    () => leave(which, room),
    () => giveRoom(which),
  );
  outcomes.set(`${which} ${JSON.stringify(room)}`, end);
}

test.each([0, 4, 6])("GE3: %i pages are left in the state folder", (pages) => applyLeaving("state", { pages }));

test.each([0, 22])("GE3: %i inodes are left in the state folder", (inodes) => applyLeaving("state", { inodes }));

test.each([0, 60, 96, 104, 120])("GE3: %i pages are left in the run folder", async (pages) => {
  // Room that an earlier change took for its undoing would hide what this one has.
  await rm(join(folderOf("run"), "ballast"), { force: true });
  await applyLeaving("run", { pages });
});

test.each([0, 4])("GE3: %i inodes are left in the run folder", (inodes) => applyLeaving("run", { inodes }));

/** Stops the agent at a step of the next apply, takes all room from a folder, and returns the commit and how its cycle ended. */
async function fillAt(step: Fault["step"], which: "state" | "run") {
  count += 1;
  const next = `n${count}.wild.test`;
  await agent.kill("SIGTERM");
  const marker = join(lab.folder, `waits-${count}`);
  const commit = await gateway.commit(policy(next));
  const seen = (await gateway.log()).length;
  agent = gateway.start({ step, moment: "before", do: "wait", jitterMs: 2_000, marker });
  await eventually("the agent waits at its step", async () => existsSync(marker));
  await leave(which, { pages: 0 });
  let end: LogLine | undefined;
  await eventually("the cycle ends", async () => {
    end = (await gateway.log())
      .slice(seen)
      .find(({ event, commit: of }) => event.startsWith("cycle-") && of === commit);
    return end !== undefined;
  });
  return { commit, next, end };
}

test("GE3: the run folder fills up in the middle of a change: it is undone by the room that was kept for it, and tried again", async () => {
  const { commit, next, end } = await fillAt("4a-zones", "run");
  expect(end).toMatchObject({ event: "cycle-failed", code: "HOST_FILE" });
  expect(await reaches(next)).toBe(false);
  expect(await reaches(standing)).toBe(true);
  expect((await readDecided(gateway)).commit).not.toBe(commit);
  await giveRoom("run");
  expect(await gateway.awaitStatus(commit, ["success", "failure"])).toMatchObject({ state: "success" });
  standing = next;
});

test("GE3: the state folder fills up once a change is won: the new release stands, and its pointer moves when there is room", async () => {
  const { commit, next, end } = await fillAt("7-confirm", "state");
  expect(end).toMatchObject({ event: "cycle-failed", code: "HOST_FILE" });
  expect((await readDecided(gateway)).commit).toBe(commit);
  expect(await reaches(next)).toBe(true);
  expect(await reaches(standing)).toBe(false);
  await giveRoom("state");
  expect(await gateway.awaitStatus(commit, ["success", "failure"])).toMatchObject({ state: "success" });
  await eventually("nothing is unfinished", async () => !existsSync(join(folderOf("state"), "txn", "confirmed")));
  expect(await listDifferences(lab, gateway)).toEqual([]);
  standing = next;
});

test.each(["state", "run"] as const)("GE3: the %s folder is read-only", async (which) => {
  const end = await applyWithout(
    async () => void (await mount("--bind", "-o", "ro", folderOf(which), folderOf(which))),
    async () => void (await runChecked(["umount", folderOf(which)], { timeoutMs: 5_000 })),
  );
  expect(end).toMatch(/^held: .*EROFS/);
  outcomes.set(`${which}, read-only`, end);
});

test("GE3: meanwhile nothing denied got through or left the gateway", async () => {
  const { leaks } = await load.stop();
  expect(leaks).toEqual([]);
  expect([...outcomes.values()].filter((end) => end.startsWith("held")).length).toBeGreaterThan(5);
});
