import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bootTimeMs, sleepMs } from "../../agent/host/clock.ts";
import { listProcesses, readProcess } from "../../agent/host/process-table.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** A change that nobody confirms is undone in time, whatever became of the agent that made it. */

const CONFIRM_MS = 5_000;
const policy = (...domains: string[]) => ({ version: 1, allow: { domains: ["a.allowed.test", ...domains] } });

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(), config: { health: { confirmTimeoutMs: CONFIRM_MS } } });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

const transaction = async (state: string): Promise<string | null> =>
  await readFile(join(gateway.folder, "state", "txn", state), "utf8").catch(() => null);
const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";
const confirmed = async (): Promise<{ readonly serial: number; readonly release: string }> => {
  const result = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
  return (JSON.parse(result.stdout) as { confirmed: { serial: number; release: string } }).confirmed;
};
const timerPid = async (): Promise<number> =>
  (JSON.parse(await readFile(join(gateway.folder, "run", "revert-timer.pid.json"), "utf8")) as { pid: number }).pid;

/** Every timer of this gateway's program, whatever its pid file says. */
async function runningTimers(): Promise<readonly number[]> {
  const program = join(gateway.program, "revert-timer.mjs");
  const running = await Promise.all(
    (await listProcesses()).map(async ({ pid }) => {
      const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      return line.split("\0").includes(program) ? [pid] : [];
    }),
  );
  return running.flat();
}

test("a confirmed change ends its timer at once and in silence", async () => {
  agent = gateway.start();
  const commit = await gateway.commit(policy("b.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  expect(await transaction("armed")).toBeNull();
  await sleepMs(500);
  expect(await runningTimers()).toEqual([]);
  expect(existsSync(join(gateway.folder, "run", "revert-timer.pid.json"))).toBe(false);
  expect(await readFile(join(gateway.folder, "run", "revert-timer.log"), "utf8")).toBe("");
});

test("GE12: an agent that is killed before it confirms: the old release comes back without it", async () => {
  await agent.kill("SIGKILL");
  const before = await confirmed();
  agent = gateway.start({ step: "6-probe", moment: "before", do: "kill" });
  const commit = await gateway.commit(policy("b.allowed.test", "www.allowed.test"));
  await agent.exited;
  expect(await transaction("armed")).not.toBeNull();
  expect(await reaches("www.allowed.test")).toBe(true);
  await eventually("the timer has reverted", async () => (await transaction("reverted")) !== null);
  expect(await reaches("www.allowed.test")).toBe(false);
  expect(await reaches("b.allowed.test")).toBe(true);
  expect(await confirmed()).toEqual(before);

  agent = gateway.start();
  const status = await gateway.awaitStatus(commit, ["failure"]);
  expect(status.description).toMatch(/not confirmed in time/);
  expect((await gateway.log()).some(({ event, commit: of }) => event === "reverted-by-timer" && of === commit)).toBe(
    true,
  );
  expect(await transaction("reverted-by-timer.json")).toBeNull();
});

test("an agent that is paused before it confirms finds that it has lost", async () => {
  await agent.kill("SIGKILL");
  const before = await confirmed();
  agent = gateway.start({ step: "7-confirm", moment: "before", do: "stop" });
  const commit = await gateway.commit(policy("b.allowed.test", "api.allowed.test"));
  await eventually("the timer has reverted", async () => (await transaction("reverting")) !== null);
  await eventually("the old release is back", async () => (await transaction("reverting")) === null);
  expect(await reaches("api.allowed.test")).toBe(false);
  process.kill(agent.pid, "SIGCONT");
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toMatch(/rolled back: APPLY_NOT_CONFIRMED/);
  expect(await confirmed()).toEqual(before);
  expect(await reaches("api.allowed.test")).toBe(false);
});

test("an agent that is paused in the middle of a swap is ended, and the old release is complete", async () => {
  await agent.kill("SIGKILL");
  const before = await confirmed();
  agent = gateway.start({ step: "4d-gate", moment: "before", do: "stop" });
  const commit = await gateway.commit(policy("b.allowed.test", "v4only.allowed.test"));
  expect(await agent.exited).toBe("SIGKILL");
  await eventually("the timer has reverted", async () => (await transaction("reverting")) === null);
  expect(await reaches("v4only.allowed.test")).toBe(false);
  expect(await reaches("b.allowed.test")).toBe(true);
  expect(await confirmed()).toEqual(before);
  agent = gateway.start();
  await gateway.awaitStatus(commit, ["failure"]);
});

test("an agent that starts again before the deadline does not wait for it", async () => {
  await agent.kill("SIGKILL");
  agent = gateway.start({ step: "5-read-back", moment: "after", do: "kill" });
  const commit = await gateway.commit(policy("b.allowed.test", "text.allowed.test", "v6only.allowed.test"));
  await agent.exited;
  const pid = await timerPid();
  agent = gateway.start();
  await gateway.awaitStatus(commit, ["success"]);
  expect(await readProcess(pid)).toBeNull();
  expect(await transaction("armed")).toBeNull();
});

test("GE13: without a timer nothing is changed, and the next poll tries again", async () => {
  const path = join(gateway.program, "revert-timer.mjs");
  await rename(path, `${path}.away`);
  await writeFile(path, 'console.error("no timer today"); process.exit(3);\n');
  const before = await confirmed();
  const commit = await gateway.commit(policy("b.allowed.test", "health.allowed.test"));
  const status = await gateway.awaitStatus(commit, ["error"]);
  expect(status.description).toMatch(/APPLY_NO_TIMER/);
  expect(await transaction("armed")).toBeNull();
  expect(await confirmed()).toEqual(before);
  expect(await reaches("health.allowed.test")).toBe(false);
  await rename(`${path}.away`, path);
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reaches("health.allowed.test")).toBe(true);
});

/** Sets the clock of the agent and all that it starts back to 1970, ten years ahead and right again, several times a second. */
async function startWithJumpingClock(...flags: readonly string[]): Promise<LabProcess> {
  const script = join(gateway.program, "jumping-clock.mjs");
  await writeFile(
    script,
    `const real = Date.now.bind(Date);
const jumps = [0, -56 * 365 * 86_400_000, 10 * 365 * 86_400_000];
Date.now = () => Math.max(0, real() + jumps[Math.floor(real() / 150) % 3]);
`,
  );
  const program = join(gateway.program, flags.length === 0 ? "clawgress.mjs" : "faulty-agent.mjs");
  const argv = [process.execPath, program, ...(flags.length === 0 ? ["run"] : flags), "--config", gateway.configFile];
  const env = { NODE_OPTIONS: `--import=${script}` };
  return lab.spawn("gateway", argv, { logFile: join(gateway.folder, "agent.log"), env });
}

test("GE12: a clock that jumps by years while a change is made neither undoes it nor keeps it from being confirmed", async () => {
  await agent.kill("SIGKILL");
  agent = await startWithJumpingClock();
  const commit = await gateway.commit(policy("b.allowed.test", "many.allowed.test"));
  expect(await gateway.awaitStatus(commit, ["success", "failure", "error"])).toMatchObject({ state: "success" });
  const times = (await gateway.log()).map(({ time }) => String(time).slice(0, 4));
  expect(times).toContain("1970");
});

test("GE12: with such a clock a change that nobody confirms is undone when it is due, not sooner and not later", async () => {
  await agent.kill("SIGKILL");
  agent = await startWithJumpingClock("--step", "7-confirm", "--moment", "before", "--do", "kill");
  await gateway.commit(policy("b.allowed.test", "rotate.allowed.test"));
  await agent.exited;
  const armed = JSON.parse((await transaction("armed")) ?? "{}") as { readonly deadlineMs: number };
  await eventually("the timer has won", async () => (await transaction("armed")) === null);
  const lateMs = bootTimeMs() - armed.deadlineMs;
  expect(lateMs).toBeGreaterThanOrEqual(0);
  expect(lateMs).toBeLessThan(2_000);
  await eventually("the old release is back", async () => (await transaction("reverting")) === null);
  expect(await reaches("rotate.allowed.test")).toBe(false);
  expect(await reaches("many.allowed.test")).toBe(true);
  agent = gateway.start();
});
