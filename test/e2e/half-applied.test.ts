import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { takeFence } from "../../agent/compile/fence.ts";
import { ALWAYS_ALLOWED, policyOf } from "../faults/campaign.ts";
import { type Load, startLoad } from "../faults/load.ts";
import { listDifferences } from "../faults/whole.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type Fault, setUpGateway, type TestGateway } from "../support/gateway.ts";
import { killDaemon } from "../support/kill-daemon.ts";

/**
 * One part of a change takes effect and another refuses: the old release comes back, whole, or the new one is completed. Clients
 * never rest meanwhile, and what is denied never gets through.
 */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess | undefined;
let load: Load;
/** The name that the policy in force has and no other; each change brings another one. */
let standing = "n0.wild.test";
let count = 0;
const policy = (name: string) => policyOf(lab, name);

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(standing) });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  load = await startLoad(lab, ALWAYS_ALLOWED);
});

afterAll(async () => {
  await load?.stop();
  await agent?.kill("SIGKILL");
  await lab?.stop();
});

const inRun = (...path: string[]): string => join(gateway.folder, "run", ...path);
const kill = (file: string): Promise<void> => killDaemon(inRun(file));
const outcome = async (name: string): Promise<string> => (await lab.client("stray").connect(name, 443)).outcome;
const isArmed = (): boolean => existsSync(join(gateway.folder, "state", "txn", "armed"));

/** Commits another policy and, while the agent waits at a step of its apply, does something to the gateway. */
async function disturb(step: Fault["step"], what: () => Promise<unknown>, waitMs = 3_000) {
  const old = standing;
  count += 1;
  const next = `n${count}.wild.test`;
  await agent?.kill("SIGKILL");
  const marker = inRun(`waits-${count}`);
  const commit = await gateway.commit(policy(next));
  agent = gateway.start({ step, moment: "before", do: "wait", jitterMs: waitMs, marker });
  await eventually("the agent waits at its step", async () => existsSync(marker));
  expect(isArmed()).toBe(true);
  await what();
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  await eventually("one release is in force, whole", async () => (await listDifferences(lab, gateway)).length === 0);
  standing = status.state === "success" ? next : old;
  expect(await outcome(standing)).toBe("connected");
  expect(await outcome(standing === next ? old : next)).toBe("unresolved");
  return { commit, status };
}

test("GE4: GE5: named has the new zones, and the kernel refuses the rules that passed every check: both are the old ones", async () => {
  const { status } = await disturb("4c-kernel", async () => {
    const overtaken = takeFence(4_711);
    await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: overtaken });
  });
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toContain("rolled back: APPLY_FAILED: nft refuses the ruleset");
});

test("GE4: the kernel has the new rules, and the gate dies before it has the new names: all are the old ones", async () => {
  const { status } = await disturb("4d-gate", () => kill("gate.pid.json"));
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toContain("rolled back: GATE_UNREACHABLE");
});

test("GE6: named is told to load by a key that it does not know: the old zones stay, and so do the rules", async () => {
  const key = inRun("named", "rndc.key");
  const sound = await readFile(key, "utf8");
  const { status } = await disturb("4a-zones", async () => {
    await writeFile(key, sound.replace(/secret "[^"]+"/, `secret "${Buffer.alloc(32, 7).toString("base64")}"`));
    await eventually("it was refused", async () => !isArmed());
    await writeFile(key, sound);
  });
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toMatch(/rolled back: HOST_COMMAND: .*rndc/);
});

test("GE6: named dies in the middle of a change: it is started with the new zones, and proves them", async () => {
  const { status } = await disturb("4b-hold", () => kill("named.pid.json"));
  expect(status).toMatchObject({ state: "success" });
});

test("GE6: named loads one zone of another release: the read-back finds it by its canary, and the change is completed", async () => {
  const zone = inRun("named", "allow.zone");
  const { status } = await disturb("5-read-back", async () => {
    await writeFile(zone, (await readFile(zone, "utf8")).replace(/TXT "[0-9a-f]+"/, 'TXT "other"'));
    const key = inRun("named", "rndc.key");
    await lab.execChecked("gateway", ["rndc", "-s", "127.0.0.1", "-p", "9953", "-k", key, "reload"]);
  });
  expect(status).toMatchObject({ state: "success" });
  expect((await gateway.log()).map(({ event }) => event)).toContain("read-back-again");
});

test("GE11: a commit that comes while another waits for its confirmation waits for it; no change is nested in another", async () => {
  let second = "";
  const first = await disturb(
    "6-probe",
    async () => {
      second = await gateway.commit(policy("second.wild.test"));
      expect(isArmed()).toBe(true);
      // Two people sign meanwhile.
    },
    10_000,
  );
  expect(first.status).toMatchObject({ state: "success" });
  await gateway.awaitStatus(second, ["success"]);
  standing = "second.wild.test";
  const changes = (await gateway.log()).filter(({ event }) => /^apply-(armed|confirmed|reverted)$/.test(event));
  expect(changes.slice(-4).map(({ event, commit }) => `${event} ${commit}`)).toEqual([
    ...[`apply-armed ${first.commit}`, `apply-confirmed ${first.commit}`],
    ...[`apply-armed ${second}`, `apply-confirmed ${second}`],
  ]);
});

test("GE4: in between, nothing denied got through or left the gateway", async () => {
  const { allowed, denied, leaks } = await load.stop();
  expect(leaks).toEqual([]);
  expect(denied.tried).toBeGreaterThan(500);
  expect(allowed.connected / allowed.tried).toBeGreaterThan(0.8);
});
