import { existsSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createGateControl } from "../../agent/gate/control-client.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { type Fault, setUpGateway, type TestGateway } from "../support/gateway.ts";
import { killDaemon } from "../support/kill-daemon.ts";

/** A start finds any state that a crash can leave, and makes of it one release, whole, and nothing of another. */

const policy = (...domains: string[]) => ({ version: 1, allow: { domains: ["a.allowed.test", ...domains] } });

let lab: Lab;
let gateway: TestGateway;
/** The name that the confirmed policy has, and one that comes with the next. */
let turn = 0;
const names = ["b.allowed.test", "www.allowed.test", "api.allowed.test", "health.allowed.test", "v4only.allowed.test"];
const nameOf = (number: number): string => names[number % names.length] ?? "";

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(nameOf(0)) });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

const inState = (...path: string[]): string => join(gateway.folder, "state", ...path);
const inRun = (...path: string[]): string => join(gateway.folder, "run", ...path);
const killByFile = (file: string): Promise<void> => killDaemon(inRun(file));
const confirmedSerial = async (): Promise<number> => {
  const result = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
  return (JSON.parse(result.stdout) as { confirmed: { serial: number } }).confirmed.serial;
};
const boot = () => gateway.clawgress(["boot", "--json", "--config", gateway.configFile]);
const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";

/** Commits a policy with another name in the place of the last, and lets the agent crash while it applies it. */
async function crash(fault: Omit<Fault, "do">, isTimerKilled: boolean): Promise<{ old: string; new: string }> {
  const [old, next] = [nameOf(turn), nameOf(turn + 1)];
  await gateway.commit(policy(next));
  const agent = gateway.start({ ...fault, do: "kill" });
  expect(await agent.exited).toBe("SIGKILL");
  if (isTimerKilled) await killByFile("revert-timer.pid.json");
  return { old, new: next };
}

async function expectOnly(kept: string, gone: string): Promise<void> {
  expect(await reaches("a.allowed.test")).toBe(true);
  expect(await reaches(kept)).toBe(true);
  expect(await reaches(gone)).toBe(false);
  for (const state of ["armed", "reverting", "confirmed"]) expect(existsSync(inState("txn", state)), state).toBe(false);
}

describe("a start without a Git server", () => {
  test.each([
    ["armed, and the timer is dead", "6-probe", true],
    ["armed, and the timer still waits", "6-probe", false],
    ["armed, but nothing is changed yet", "4a-zones", true],
    ["armed, and only named has changed", "4b-hold", true],
    ["armed, and the kernel has changed, but the gate has not", "4d-gate", true],
  ] as const)("GE1: %s: the old release", async (_, step, isTimerKilled) => {
    const serial = await confirmedSerial();
    const name = await crash({ step, moment: "before" }, isTimerKilled);
    expect(existsSync(inState("txn", "armed"))).toBe(true);
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.old, name.new);
    expect(await confirmedSerial()).toBe(serial);
    // Again: nothing is left to do, and nothing is done.
    const again = await boot();
    expect(again.exitCode).toBe(0);
    expect(again.stderr).toContain('"restored":false');
  });

  test("GE1: a revert that was only begun: the old release", async () => {
    const name = await crash({ step: "6-probe", moment: "before" }, true);
    await rename(inState("txn", "armed"), inState("txn", "reverting"));
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.old, name.new);
  });

  test("GE1: all is in force, but the gate still lets clients wait: it goes on at once", async () => {
    const gate = createGateControl(inRun("gate", "control.sock"));
    await gate.hold(10_000);
    const isAnswered = async (): Promise<boolean> =>
      (await lab.client("agent1").resolve("a.allowed.test", { timeoutMs: 1_000 })).outcome === "answer";
    expect(await isAnswered()).toBe(false);
    const result = await boot();
    expect(result).toMatchObject({ exitCode: 0 });
    expect(result.stderr).toContain('"restored":false');
    expect(await isAnswered()).toBe(true);
  });

  test("a record that is damaged: the old release", async () => {
    const name = await crash({ step: "6-probe", moment: "before" }, true);
    await writeFile(inState("txn", "armed"), "{");
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.old, name.new);
  });

  test("GE1: confirmed, but the pointer has not moved: the new release", async () => {
    const serial = await confirmedSerial();
    const name = await crash({ step: "7-pointer", moment: "before" }, false);
    expect(existsSync(inState("txn", "confirmed"))).toBe(true);
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.new, name.old);
    expect(await confirmedSerial()).toBeGreaterThan(serial);
    turn += 1;
  });

  test("the pointer has moved, but the record is still there: the new release", async () => {
    const name = await crash({ step: "7-pointer", moment: "after" }, false);
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.new, name.old);
    turn += 1;
  });
});

describe("boot", () => {
  const links = ["lan0", "lan1", "wan0"];
  const ip = async (...argv: string[]) => await lab.execChecked("gateway", ["ip", ...argv]);
  const forwarding = async (): Promise<string> =>
    (await lab.execChecked("gateway", ["sysctl", "-n", "net.ipv4.ip_forward"])).trim();

  /** What a power cut leaves: the state folder, and nothing that was in memory. */
  beforeEach(async () => {
    for (const file of ["gate.pid.json", "named.pid.json", "revert-timer.pid.json"]) await killByFile(file);
    await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
    await lab.exec("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"]);
    await rm(inRun(), { recursive: true });
    for (const link of links) await ip("link", "set", link, "down");
  });

  async function raiseNetwork(): Promise<void> {
    for (const link of links) await ip("link", "set", link, "up");
    await ip("route", "replace", "default", "via", lab.addresses.internet.v4);
    await sleepMs(200);
  }

  test("GE24: before the network is up, the confirmed policy is in force", async () => {
    const result = await boot();
    expect(result, result.stderr).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(result.stdout)).toMatchObject({ ok: true, state: "enforcing" });
    const events = result.stderr.split("\n").flatMap((line) => /"event":"([a-z-]+)"/.exec(line)?.[1] ?? []);
    expect(events.indexOf("base-loaded")).toBe(0);
    expect(await forwarding()).toBe("1");
    await raiseNetwork();
    expect(await reaches("a.allowed.test")).toBe(true);
    await lab.mark();
    const [denied = ""] = lab.names["denied.test"].v4;
    expect(await lab.client("agent1").connect(denied, 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: denied })).packets).toBe(0);
  });

  test("GE12: a reboot in the middle of a change, after its deadline: the confirmed policy", async () => {
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await raiseNetwork();
    const name = await crash({ step: "6-probe", moment: "before" }, true);
    for (const file of ["gate.pid.json", "named.pid.json"]) await killByFile(file);
    await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
    await rm(inRun(), { recursive: true });
    const armed = JSON.parse(await readFile(inState("txn", "armed"), "utf8")) as object;
    await writeFile(inState("txn", "armed"), JSON.stringify({ ...armed, deadlineMs: 1 }));
    expect(await boot()).toMatchObject({ exitCode: 0 });
    await expectOnly(name.old, name.new);
  });

  test("a root of trust that is gone does not keep the rules from being in force", async () => {
    await raiseNetwork();
    const root = join(gateway.folder, "root.json");
    await rename(root, `${root}.away`);
    const result = await gateway.clawgress(["sync", "--json", "--config", gateway.configFile]);
    await rename(`${root}.away`, root);
    expect(result.exitCode).not.toBe(0);
    expect(await reaches("a.allowed.test")).toBe(true);
  });

  test("a damaged release: only the lifeline, and the exit status says why", async () => {
    const confirmed = JSON.parse(
      (await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).stdout,
    ) as { readonly confirmed: { readonly release: string } };
    const file = inState("releases", confirmed.confirmed.release, "policy.nft");
    await writeFile(file, `${await readFile(file, "utf8")}# one line more\n`);
    const result = await boot();
    expect(result.exitCode).toBe(46);
    expect(JSON.parse(result.stdout)).toMatchObject({ ok: false, state: "closed", code: "APPLY_RELEASE_DAMAGED" });
    expect(await forwarding()).toBe("1");
    await raiseNetwork();
    expect(await reaches("a.allowed.test")).toBe(false);
    for (const to of [lab.addresses.management.v4, lab.addresses.agent1.v4]) {
      expect((await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", to])).exitCode).toBe(0);
    }
  });
});
