import type { Agent } from "../agent.ts";
import type { CycleOutcome } from "../cycle.ts";
import { createTurn } from "../host/turn.ts";
import { reconcile } from "../reconcile.ts";
import type { CycleSummary } from "./agent-calls.ts";

/** Cycles of one agent, one at a time, whoever asks for them. */
export interface Cycles {
  /** Does a cycle after the one that is under way; all who ask meanwhile share it. */
  run(): Promise<CycleOutcome>;
  /** Does a cycle unless one is under way. */
  runIfIdle(): Promise<void>;
  /** Runs work between two cycles. */
  between<Result>(work: () => Promise<Result>): Promise<Result>;
}

/** Returns the cycles of an agent; `after` is called when one has ended, before anybody is told. */
export function createCycles(agent: Agent, signal: AbortSignal, after: () => Promise<void>): Cycles {
  const inTurn = createTurn();
  let waiting: Promise<CycleOutcome> | null = null;
  let underWay = 0;
  const cycle = async (): Promise<CycleOutcome> => {
    const outcome = await reconcile(agent, signal);
    await after();
    return outcome;
  };
  const between = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    underWay += 1;
    try {
      return await inTurn(work);
    } finally {
      underWay -= 1;
    }
  };
  const run = (): Promise<CycleOutcome> => {
    waiting ??= between(async () => {
      waiting = null;
      return await cycle();
    });
    return waiting;
  };
  return {
    run,
    between,
    runIfIdle: async () => {
      if (underWay === 0) await run();
    },
  };
}

/** Returns how a cycle ended, as others are told. */
export function summarizeCycle(outcome: CycleOutcome): CycleSummary {
  const { kind, commit } = outcome;
  const serial = outcome.kind === "confirmed" ? outcome.serial : null;
  if (!("error" in outcome)) return { outcome: kind, commit, serial, error: null };
  const { code, message, remedy } = outcome.error;
  return { outcome: kind, commit, serial, error: { code, message, remedy } };
}
