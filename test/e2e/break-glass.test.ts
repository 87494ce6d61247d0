import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { listProcesses } from "../../agent/host/process-table.ts";
import type { GatewayStatus } from "../../agent/report/gateway-status.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** A policy that is brought to a gateway whose policy comes from a remote: refused, but in an emergency that has an end. */

const policy = { version: 1, allow: { domains: ["www.denied.test"], ports: [443] } };
const imports = (...argv: readonly string[]) =>
  gateway.clawgress([
    "policy",
    "import",
    "file",
    join(gateway.folder, "emergency.json"),
    ...argv,
    "--config",
    gateway.configFile,
  ]);
const status = async () =>
  JSON.parse((await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).stdout) as GatewayStatus;
const reaches = async (): Promise<boolean> =>
  (await lab.client("agent1").connect("www.denied.test", 443)).outcome === "connected";

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: { version: 1, allow: { domains: ["a.allowed.test"], ports: [443] } } });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

test("it is refused with the way to change it there", async () => {
  await writeFile(join(gateway.folder, "emergency.json"), JSON.stringify(policy));
  const { exitCode, stderr } = await imports();
  expect(exitCode).toBe(70);
  expect(stderr).toMatch(/PROPOSAL_REMOTE[\s\S]*pull request[\s\S]*--break-glass/);
  for (const argv of [
    ["--break-glass"],
    ["--break-glass", "--for", "1m"],
    ["--break-glass", "--reason", "x", "--for", "1y"],
  ]) {
    expect((await imports(...argv)).exitCode, argv.join(" ")).toBe(2);
  }
});

test("GE28: the glass may be broken until an end: in force, visible everywhere, and undone though the agent is down then", async () => {
  const head = await gateway.head();
  const before = await status();
  const broken = await imports("--break-glass", "--reason", "the mirror moved", "--for", "12s");
  expect(broken.exitCode, broken.stderr).toBe(0);
  expect(await reaches()).toBe(true);
  const during = await status();
  expect(during).toMatchObject({ ok: true, breakGlass: { by: "root", reason: "the mirror moved" } });
  expect(during.confirmed).toEqual(before.confirmed);
  expect(during.degraded.join()).toContain("nobody approved");
  await eventually("the commit says so", async () =>
    (await lab.statuses.posted()).some(
      ({ sha, description }) => sha === head && description?.includes("BREAK-GLASS by root"),
    ),
  );
  // A new agent keeps it, and none is there when its end comes.
  await agent.kill("SIGKILL");
  agent = gateway.start();
  await eventually("the new agent is there", async () => (await status()).agent.pid !== null);
  expect(await reaches()).toBe(true);
  await agent.kill("SIGKILL");
  await eventually("what was approved is back", async () => !(await reaches()));
  agent = gateway.start();
  await eventually("and status says so", async () => {
    const { ok, breakGlass } = await status();
    return ok && breakGlass === null;
  });
  expect((await status()).confirmed).toEqual(before.confirmed);
  expect(await reaches()).toBe(false);
  await eventually(
    "and the commit",
    async () => (await lab.statuses.posted()).filter(({ sha }) => sha === head).at(-1)?.state === "success",
  );
  // Nor does it outlive its end when nobody is left to end it: neither an agent nor the process that waits for it.
  expect((await imports("--break-glass", "--reason", "once more", "--for", "10s")).exitCode).toBe(0);
  expect(await reaches()).toBe(true);
  await agent.kill("SIGKILL");
  for (const pid of await timersOf(gateway)) process.kill(pid, "SIGKILL");
  await sleepMs(11_000);
  expect(await reaches()).toBe(true);
  const booted = await gateway.clawgress(["boot", "--config", gateway.configFile]);
  expect(booted.exitCode, booted.stderr).toBe(0);
  expect(await reaches()).toBe(false);
  agent = gateway.start();
  // The same policy, approved, is no bad release.
  const approved = await gateway.commit(policy, { message: "the mirror moved" });
  expect((await gateway.awaitStatus(approved, ["success", "failure"])).state).toBe("success");
  expect(await reaches()).toBe(true);
}, 120_000);

/** Every revert timer of this gateway's program. */
async function timersOf({ program }: TestGateway): Promise<readonly number[]> {
  const pids = (await listProcesses()).map(({ pid }) => pid);
  const isTimer = (pid: number): boolean => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(join(program, "revert-timer.mjs"));
    } catch {
      return false;
    }
  };
  return pids.filter(isTimer);
}
