import type { Agent } from "../agent.ts";
import type { CycleOutcome } from "../cycle.ts";
import { monotonicMs } from "../host/clock.ts";
import { createTurn } from "../host/turn.ts";
import { reconcile } from "../reconcile.ts";
import { freshPace, nextPace } from "../source/poll-pace.ts";
import type { CycleSummary } from "./agent-calls.ts";

/** Cycles of one agent, one at a time, whoever asks for them. */
export interface Cycles {
  /** Does a cycle after the one that is under way; all who ask meanwhile share it. */
  run(): Promise<CycleOutcome>;
  /** Does a cycle unless one is under way, or the last ones failed so that the remote is to be left alone for a while. */
  runIfDue(): Promise<void>;
  /** When the cycle, or the work between two, that is under way began, by the monotonic clock; null: none is. */
  sinceMs(): number | null;
  /** Runs work between two cycles. */
  between<Result>(work: () => Promise<Result>): Promise<Result>;
}

/** Returns the cycles of an agent; `after` is called when one has ended, before anybody is told. */
export function createCycles(agent: Agent, signal: AbortSignal, after: () => Promise<void>): Cycles {
  const inTurn = createTurn();
  let waiting: Promise<CycleOutcome> | null = null;
  let underWay = 0;
  let sinceMs: number | null = null;
  let pace = freshPace;
  const cycle = async (): Promise<CycleOutcome> => {
    const outcome = await reconcile(agent, signal);
    pace = nextPace(pace, outcome.kind === "failed" ? outcome.error : null, monotonicMs(), Math.random());
    await after();
    return outcome;
  };
  const between = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    underWay += 1;
    try {
      return await inTurn(async () => {
        sinceMs = monotonicMs();
        return await work().finally(() => {
          sinceMs = null;
        });
      });
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
    sinceMs: () => sinceMs,
    between,
    runIfDue: async () => {
      if (underWay === 0 && monotonicMs() >= pace.notBeforeMs) await run();
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
