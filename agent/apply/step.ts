import { monotonicMs } from "../host/clock.ts";
import type { EventLog } from "../host/event-log.ts";

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

/** Does one step's work. What wraps it is for tests that end or pause the process before and after it. */
export type RunStep = <Result>(step: ApplyStep, work: () => Promise<Result>) => Promise<Result>;

/** Does the work and nothing else. */
export const plainStep: RunStep = (_step, work) => work();

/** Returns the same steps, each with its time in the log at level `debug`. */
export function timeSteps(step: RunStep, log: EventLog): RunStep {
  return async (name, work) => {
    const startedAtMs = monotonicMs();
    try {
      return await step(name, work);
    } finally {
      log.debug({ event: "step-took", step: name, tookMs: Math.round(monotonicMs() - startedAtMs) });
    }
  };
}
