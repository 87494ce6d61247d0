import { monotonicMs } from "../host/clock.ts";
import type { EventLog } from "../host/event-log.ts";
import { createHistogram, type Histogram, type HistogramCounts } from "../host/histogram.ts";

/** The steps of an apply, as the protocol numbers them; 4 is the same in a revert. */
export const applySteps = [
  "1-stage",
  "2-rehearse",
  "3-arm",
  "3-timer",
  "4a-zones",
  "4b-hold",
  "4c-kernel",
  "4d-gate",
  "4e-proxy",
  "5-read-back",
  "6-probe",
  "7-confirm",
  "7-pointer",
] as const;

export type ApplyStep = (typeof applySteps)[number];

/** The steps of a cycle in their order: @see reconcile. All of an apply is within `stageRelease` and `applyStaged`. */
export const cycleSteps = [
  "pollHead",
  "startPrograms",
  "openHead",
  "followRoots",
  "approveCommit",
  "approveContent",
  "checkHistory",
  "rememberVerified",
  "readPolicy",
  "narrowIfDistrusted",
  "compileCommit",
  "holdForBreakGlass",
  "confirmUnchanged",
  "refuseBadRelease",
  "waitForOperator",
  "waitForWindow",
  "stageRelease",
  "applyStaged",
] as const;

/** `report` comes after them, however the cycle ended. */
export type CycleStep = (typeof cycleSteps)[number] | "report";

/** Does one step's work. What wraps it is for tests that end or pause the process before and after it. */
export type RunStep = <Result>(step: ApplyStep | CycleStep, work: () => Promise<Result>) => Promise<Result>;

/** Does the work and nothing else. */
export const plainStep: RunStep = (_step, work) => work();

/** How long each step took that this process has done since its start, also those that failed. */
export interface StepTimes {
  note(step: ApplyStep, seconds: number): void;
  read(): { readonly [step in ApplyStep]?: HistogramCounts };
}

/** From a pointer that moves (1 ms) to a long list that is loaded on a slow machine. */
const BOUNDS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Returns the times of no step yet. */
export function createStepTimes(): StepTimes {
  const steps = new Map<ApplyStep, Histogram>();
  return {
    note: (step, seconds) => {
      const histogram = steps.get(step) ?? createHistogram(BOUNDS_S);
      steps.set(step, histogram);
      histogram.note(seconds);
    },
    read: () => Object.fromEntries([...steps].map(([step, histogram]) => [step, histogram.read()])),
  };
}

/** Returns the same steps, each with its time noted, and in the log at level `debug`. */
export function timeSteps(step: RunStep, times: Pick<StepTimes, "note">, log: EventLog): RunStep {
  return async (name, work) => {
    const startedAtMs = monotonicMs();
    try {
      return await step(name, work);
    } finally {
      const tookMs = monotonicMs() - startedAtMs;
      if (isApplyStep(name)) times.note(name, tookMs / 1000);
      log.debug({ event: "step-took", step: name, tookMs: Math.round(tookMs) });
    }
  };
}

function isApplyStep(name: ApplyStep | CycleStep): name is ApplyStep {
  return (applySteps as readonly string[]).includes(name);
}
