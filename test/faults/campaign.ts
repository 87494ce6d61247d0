import { existsSync } from "node:fs";
import { join } from "node:path";
import { applySteps } from "../../agent/apply/step.ts";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { findDaemon } from "../../agent/host/daemon.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { killDaemon } from "../support/kill-daemon.ts";
import { countKills, describeStrike, type Kill, type Strike } from "./strikes.ts";
import { listDifferences, readDecided } from "./whole.ts";

/** What a strike led to; `wrong` is empty when all is as it must be. */
export interface StrikeReport {
  readonly what: string;
  readonly decided: "old" | "new";
  readonly wrong: readonly string[];
  readonly kills: number;
  readonly tookMs: number;
}

/** A lab with a gateway that is struck again and again. */
export interface FaultLab {
  readonly lab: Lab;
  readonly gateway: TestGateway;
  strike(strike: Strike): Promise<StrikeReport>;
  /** Lets an agent look after everything for a while, and returns what does not run all the same. */
  listDown(): Promise<readonly string[]>;
}

/** Every policy of a run allows this name, and none allows anything below denied.test. */
export const ALWAYS_ALLOWED = "a.allowed.test";
const CONFIRM_MS = 4_000;
const longLived = ["gate", "named", "proxy", "ulogd", "api"] as const;
const SETTLE_MS = 30_000;
const POLL_MS = 25;
/** Sets up a gateway in a lab with a first policy in force. */
export async function openFaultLab(lab: Lab): Promise<FaultLab> {
  const gateway = await setUpGateway(lab, {
    policy: policyOf(lab, "n0.wild.test"),
    config: { health: { confirmTimeoutMs: CONFIRM_MS } },
  });
  const first = await gateway.sync();
  if (!first.ok) throw new Error(`the first policy is not confirmed: ${first.code} ${first.message}`);
  let turn = 0;
  /** Commit → the name that its policy has and no other. */
  const names = new Map([[(await readDecided(gateway)).commit, "n0.wild.test"]]);
  return {
    lab,
    gateway,
    strike: async (strike) => {
      turn += 1;
      const name = `n${turn}.wild.test`;
      return await strikeOnce({ lab, gateway, names, name }, strike);
    },
    listDown: async () => await listDown(gateway),
  };
}

/** Returns a policy that allows these names besides the one that all allow. One client goes by server names, all others by addresses. */
export function policyOf({ addresses }: Lab, ...names: readonly string[]): { readonly [key: string]: unknown } {
  const { v4, v6 } = addresses.stray;
  const domains = [ALWAYS_ALLOWED, ...names];
  const byName = { sources: [`${v4}/32`, `${v6}/128`], allow: { domains, ports: [443] } };
  return {
    version: 1,
    allow: { domains, ips: ["203.0.113.60/32"], ports: [80, 443] },
    hosts: { "by-name": { ...byName, proxy: { mode: "sni-allowlist" } } },
  };
}

async function listDown(gateway: TestGateway): Promise<readonly string[]> {
  const agent = gateway.start();
  const find = async (): Promise<readonly string[]> => {
    const found = longLived.map(async (part) => {
      return (await findDaemon(join(gateway.folder, "run", `${part}.pid.json`))) === null ? [part] : [];
    });
    return (await Promise.all(found)).flat();
  };
  try {
    await eventually("everything runs", async () => (await find()).length === 0).catch(() => {
      // What does not is returned.
    });
    return await find();
  } finally {
    await agent.kill("SIGTERM");
  }
}

interface Scene {
  readonly lab: Lab;
  readonly gateway: TestGateway;
  readonly names: Map<string, string>;
  readonly name: string;
}

async function strikeOnce(scene: Scene, strike: Strike): Promise<StrikeReport> {
  const { gateway, names, name } = scene;
  const startedMs = monotonicMs();
  const old = await readDecided(gateway);
  const fault = "fault" in strike.hit ? strike.hit.fault : undefined;
  // Steps before an apply are those of the first poll: the commit is there before it.
  const isEarly = fault !== undefined && !applySteps.some((step) => step === fault.step);
  let agent = isEarly ? null : gateway.start(fault);
  const wrong: string[] = [];
  try {
    const commit = await gateway.commit(policyOf(scene.lab, name));
    names.set(commit, name);
    agent ??= gateway.start(fault);
    if (fault?.do === "kill") await bounded("the agent dies at its step", agent.exited);
    else if (fault?.do === "stop") await letTimerAct(gateway, agent);
    else if ("kills" in strike.hit) agent = await killEach(gateway, agent, strike.hit.kills);
    if (strike.after === "wait") {
      // Armed without a timer, nothing was changed yet: then there is nothing to wait for.
      const timer = join(gateway.folder, "run", "revert-timer.pid.json");
      await eventually("the timer has acted", async () => !isInFlight(gateway) || (await findDaemon(timer)) === null);
      wrong.push(...(await checkWhole(scene, [old.commit, commit], "after the timer")));
    } else if (strike.after === "boot") {
      const result = await gateway.clawgress(["boot", "--config", gateway.configFile]);
      if (result.exitCode !== 0 && result.exitCode !== 5)
        wrong.push(`boot ends with ${result.exitCode}: ${result.stderr}`);
      wrong.push(...(await checkWhole(scene, [old.commit, commit], "after boot")));
    } else if (strike.after === "dying-agent") {
      const dying = gateway.start({ step: "4c-kernel", moment: "after", do: "kill" });
      await Promise.race([dying.exited, sleepMs(3_000)]);
      await dying.kill("SIGKILL");
    }
    if (await hasEnded(agent)) agent = gateway.start();
    // The agent tries again what was not rolled back, so the end is a status: green for the new, red for the old.
    const { state } = await gateway.awaitStatus(commit, ["success", "failure"]);
    await eventually("nothing is in flight", async () => !isInFlight(gateway));
    wrong.push(...(await checkWhole(scene, [old.commit, commit], "in the end")));
    const isNew = (await readDecided(gateway)).commit === commit;
    if (isNew !== (state === "success"))
      wrong.push(`the status is ${state}, but the ${isNew ? "new" : "old"} release stands`);
    const decided = isNew ? "new" : "old";
    return {
      ...{ what: describeStrike(strike), decided, wrong },
      ...{ kills: countKills(strike), tookMs: monotonicMs() - startedMs },
    };
  } finally {
    await agent?.kill("SIGKILL");
  }
}

/** Returns what is not as the decided release says: its parts, its names, or that it is neither of the two. */
async function checkWhole(scene: Scene, either: readonly string[], when: string): Promise<readonly string[]> {
  const { lab, gateway, names } = scene;
  let lines: readonly string[] = [];
  // A service that was killed is on its way back: it is given a moment, what differs for good stays different.
  for (let attempt = 0; attempt < 100; attempt++) {
    lines = await listDifferences(lab, gateway).catch((error: Error) => [error.message]);
    if (lines.length === 0) break;
    await sleepMs(50);
  }
  const wrong = [...lines];
  const { commit } = await readDecided(gateway);
  if (!either.includes(commit)) wrong.push(`commit ${commit} is neither the old nor the new one`);
  for (const other of either) {
    const name = names.get(other) ?? "";
    const [byAddress, byName] = await Promise.all([
      lab.client("guest").connect(name, 443, { family: 4, timeoutMs: 2_000 }),
      lab.client("stray").tls(name, 443, { family: 4, timeoutMs: 2_000 }),
    ]);
    for (const { outcome } of [byAddress, byName]) {
      if ((outcome === "connected") !== (other === commit)) wrong.push(`${name} is ${outcome}`);
    }
  }
  return wrong.map((line) => `${when}: ${line}`);
}

/** The agent is stopped at its step, the timer wins, and only then the agent goes on. */
async function letTimerAct({ folder }: TestGateway, agent: LabProcess): Promise<void> {
  const txn = join(folder, "state", "txn");
  const note = join(txn, "reverted-by-timer.json");
  await eventually("the timer has reverted", async () => existsSync(note) && !existsSync(join(txn, "reverting")));
  if (!(await hasEnded(agent))) process.kill(agent.pid, "SIGCONT");
}

/** Returns the agent that is there at the end; it may be dead. */
async function killEach(gateway: TestGateway, first: LabProcess, kills: readonly Kill[]): Promise<LabProcess> {
  let agent = first;
  for (const { victims, afterMs } of kills) {
    if (await hasEnded(agent)) agent = gateway.start();
    await sleepMs(afterMs);
    for (const victim of victims) {
      if (victim === "agent") await agent.kill("SIGKILL");
      else await killDaemon(join(gateway.folder, "run", `${victim === "timer" ? "revert-timer" : victim}.pid.json`));
    }
  }
  return agent;
}

function isInFlight({ folder }: TestGateway): boolean {
  return ["armed", "reverting"].some((state) => existsSync(join(folder, "state", "txn", state)));
}

async function hasEnded(agent: LabProcess): Promise<boolean> {
  return (await Promise.race([agent.exited, sleepMs(0).then(() => null)])) !== null;
}

async function bounded<Result>(what: string, work: Promise<Result>): Promise<Result> {
  const late = sleepMs(SETTLE_MS).then(() => Promise.reject(new Error(`it never came true: ${what}`)));
  return await Promise.race([work, late]);
}

async function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (const endMs = monotonicMs() + SETTLE_MS; monotonicMs() < endMs; ) {
    if (await isTrue()) return;
    await sleepMs(POLL_MS);
  }
  throw new Error(`it never came true: ${what}`);
}
