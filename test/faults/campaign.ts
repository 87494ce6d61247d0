import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApplyStep, applySteps } from "../../agent/apply/step.ts";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { findDaemon } from "../../agent/host/daemon.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { type Fault, setUpGateway, type TestGateway } from "../support/gateway.ts";
import type { Random } from "./random.ts";
import { listDifferences, readDecided } from "./whole.ts";

/** What is done to a gateway while it applies a commit, and what brings it back. */
export interface Strike {
  /** At a step of the apply, or at any moment: SIGKILL to these, `afterMs` after the push. */
  readonly hit: { readonly fault: Fault } | { readonly kill: readonly Victim[]; readonly afterMs: number };
  /** Nobody but the revert timer; `boot` alone; a new agent; or first an agent that dies in the middle of putting things right. */
  readonly after: "wait" | "boot" | "agent" | "dying-agent";
}

type Victim = "agent" | "timer" | "gate" | "named";

/** What a strike led to; `wrong` is empty when all is as it must be. */
export interface StrikeReport {
  readonly what: string;
  readonly decided: "old" | "new";
  readonly wrong: readonly string[];
  readonly tookMs: number;
}

/** A lab with a gateway that is struck again and again. */
export interface FaultLab {
  readonly lab: Lab;
  readonly gateway: TestGateway;
  strike(strike: Strike): Promise<StrikeReport>;
}

/** Every policy of a run allows this name, and none allows anything below denied.test. */
export const ALWAYS_ALLOWED = "a.allowed.test";
const CONFIRM_MS = 4_000;
const SETTLE_MS = 30_000;
const POLL_MS = 25;
const moments = ["before", "after"] as const;

/** Returns one strike at every step, before and after it. */
export function everyStep(random: Random): readonly Strike[] {
  return applySteps.flatMap((step) =>
    moments.map((moment): Strike => ({ hit: { fault: { step, moment, do: "kill" } }, after: random.pick(afterwards) })),
  );
}

const afterwards = ["wait", "boot", "agent", "dying-agent"] as const;
const victims: readonly (readonly Victim[])[] = [
  ["agent"],
  ["agent", "timer"],
  ["agent", "gate"],
  ["agent", "named"],
  ["agent", "timer", "gate", "named"],
  ["timer"],
  ["gate"],
];

/** Returns a strike at a random moment. A dead timer leaves nobody to wait for. */
export function anyMoment(random: Random): Strike {
  const kill = random.pick(victims);
  const after = random.pick(kill.includes("timer") ? (["boot", "agent"] as const) : afterwards);
  return { hit: { kill, afterMs: random.between(0, 2_500) }, after: kill.includes("agent") ? after : "agent" };
}

/** Returns a strike in which the agent confirms while the timer acts: off by so much from its deadline. */
export function race(jitterMs: number): Strike {
  return { hit: { fault: { step: "7-confirm", moment: "before", do: "race", jitterMs } }, after: "agent" };
}

/**
 * Returns a strike in which the agent is paused at a step, and told to go on after the timer has acted. Within a swap it
 * holds the lock and is ended for it; later it finds that it has lost.
 */
export function pausedAt(step: ApplyStep): Strike {
  return { hit: { fault: { step, moment: "before", do: "stop" } }, after: "agent" };
}

/** Sets up a gateway in a lab with a first policy in force. */
export async function openFaultLab(lab: Lab): Promise<FaultLab> {
  const gateway = await setUpGateway(lab, {
    policy: policyOf("n0.wild.test"),
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
  };
}

function policyOf(name: string): object & { readonly [key: string]: unknown } {
  return { version: 1, allow: { domains: [ALWAYS_ALLOWED, name], ips: ["203.0.113.60/32"], ports: [80, 443] } };
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
  let agent = gateway.start(fault);
  const wrong: string[] = [];
  try {
    const commit = await gateway.commit(policyOf(name));
    names.set(commit, name);
    if (fault?.do === "kill") await bounded("the agent dies at its step", agent.exited);
    else if (fault?.do === "stop") await letTimerAct(gateway, agent);
    else if ("kill" in strike.hit) await killAt(gateway, agent, strike.hit);
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
    return { what: describe(strike), decided: isNew ? "new" : "old", wrong, tookMs: monotonicMs() - startedMs };
  } finally {
    await agent.kill("SIGKILL");
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
    const { outcome } = await lab.client("stray").connect(name, 443, { family: 4, timeoutMs: 2_000 });
    if ((outcome === "connected") !== (other === commit)) wrong.push(`${name} is ${outcome}`);
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

async function killAt(
  gateway: TestGateway,
  agent: LabProcess,
  { kill, afterMs }: Extract<Strike["hit"], { readonly kill: readonly Victim[] }>,
): Promise<void> {
  await sleepMs(afterMs);
  const files = { timer: "revert-timer.pid.json", gate: "gate.pid.json", named: "named.pid.json" } as const;
  for (const victim of kill) {
    if (victim === "agent") await agent.kill("SIGKILL");
    else await killByFile(join(gateway.folder, "run", files[victim]));
  }
}

async function killByFile(path: string): Promise<void> {
  try {
    process.kill((JSON.parse(await readFile(path, "utf8")) as { readonly pid: number }).pid, "SIGKILL");
  } catch {
    // It has ended, or was never started.
  }
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

function describe({ hit, after }: Strike): string {
  if ("kill" in hit) return `kill ${hit.kill.join(", ")} after ${hit.afterMs} ms, then ${after}`;
  const { step, moment, do: what, jitterMs } = hit.fault;
  return `${what} ${moment} ${step}${jitterMs === undefined ? "" : `, ${jitterMs} ms from the deadline`}, then ${after}`;
}
