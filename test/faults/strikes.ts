import { type ApplyStep, applySteps, type CycleStep, cycleSteps } from "../../agent/apply/step.ts";
import type { Fault } from "../support/gateway.ts";
import type { Random } from "./random.ts";

/** What is done to a gateway while it applies a commit, and what brings it back. */
export interface Strike {
  /** At a step: SIGKILL, SIGSTOP or a race to the agent. Or at any moments, one after the other, an agent being started again after each. */
  readonly hit: { readonly fault: Fault } | { readonly kills: readonly Kill[] };
  /** Nobody but the revert timer; `boot` alone; a new agent; or first an agent that dies in the middle of putting things right. */
  readonly after: "wait" | "boot" | "agent" | "dying-agent";
}

/** SIGKILL to these, so long after the push, or after the agent was started again. */
export interface Kill {
  readonly victims: readonly Victim[];
  readonly afterMs: number;
}

export type Victim = "agent" | "timer" | "gate" | "named" | "proxy" | "ulogd";

/**
 * What clients may notice. `nothing`: whoever died is in nobody's way. `hold`: it may have died while the gate let clients wait.
 * `parts`: what answers or carries them was killed, and is away until somebody starts it again.
 */
export type Notice = "nothing" | "hold" | "parts";

const moments = ["before", "after"] as const;
const afterwards = ["wait", "boot", "agent", "dying-agent"] as const;
/** From the gate's hold to its end. */
const heldAt: readonly (ApplyStep | CycleStep)[] = ["4b-hold", "4c-kernel", "4d-gate"];
const KILLS_AT_ONCE = 4;

const victims: readonly (readonly Victim[])[] = [
  ["agent"],
  ["agent"],
  ["agent", "timer"],
  ["timer"],
  ["gate"],
  ["named"],
  ["proxy"],
  ["ulogd"],
  ["agent", "gate"],
  ["agent", "named"],
  ["agent", "proxy"],
  ["agent", "timer", "gate", "named", "proxy", "ulogd"],
];

/** Returns one kill of the agent before and after every step, from the poll to the report. */
export function everyStep(random: Random): readonly Strike[] {
  return [...cycleSteps, ...applySteps, "report" as const].flatMap((step) =>
    moments.map((moment): Strike => ({ hit: { fault: { step, moment, do: "kill" } }, after: random.pick(afterwards) })),
  );
}

/** Returns strikes at random moments with so many kills in all. */
export function anyMoments(random: Random, count: number): readonly Strike[] {
  const strikes: Strike[] = [];
  for (let left = count; left > 0; left -= KILLS_AT_ONCE) {
    const kills = Array.from({ length: Math.min(left, KILLS_AT_ONCE) }, () => {
      return { victims: random.pick(victims), afterMs: random.between(0, 2_500) };
    });
    const last = kills.at(-1)?.victims ?? [];
    // A dead timer leaves nobody to wait for, and starts nothing that it has not to put back.
    const isAlone = kills.every(({ victims: killed }) => killed.every((victim) => victim === "agent"));
    const after = random.pick(isAlone ? afterwards : (["boot", "agent", "dying-agent"] as const));
    strikes.push({ hit: { kills }, after: last.includes("agent") ? after : "agent" });
  }
  return strikes;
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

/** Returns how many processes or groups of processes a strike kills. */
export function countKills({ hit, after }: Strike): number {
  const own = "kills" in hit ? hit.kills.length : Number(hit.fault.do === "kill");
  return own + Number(after === "dying-agent");
}

/** Returns what clients may notice of a strike. */
export function noticeOf({ hit, after }: Strike): Notice {
  if ("kills" in hit) {
    const parts: readonly Victim[] = ["gate", "named", "proxy"];
    return hit.kills.some(({ victims: killed }) => killed.some((victim) => parts.includes(victim))) ? "parts" : "hold";
  }
  return after === "dying-agent" || heldAt.includes(hit.fault.step) ? "hold" : "nothing";
}

/** Returns a strike in words. */
export function describeStrike({ hit, after }: Strike): string {
  if ("kills" in hit) {
    const kills = hit.kills.map(({ victims: killed, afterMs }) => `${killed.join("+")} after ${afterMs} ms`);
    return `kill ${kills.join(", ")}, then ${after}`;
  }
  const { step, moment, do: what, jitterMs } = hit.fault;
  return `${what} ${moment} ${step}${jitterMs === undefined ? "" : `, ${jitterMs} ms from the deadline`}, then ${after}`;
}
