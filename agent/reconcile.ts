import type { Agent } from "./agent.ts";
import { cycleSteps } from "./apply/step.ts";
import { holdForBreakGlass } from "./control/break-glass.ts";
import type { Cycle, CycleOutcome, StepResult } from "./cycle.ts";
import { type AgentError, codes, type Response, toStepError } from "./errors.ts";
import { nowMs } from "./host/clock.ts";
import { noteCycle } from "./report/agent-memory.ts";
import { applyStaged, confirmUnchanged, stageRelease, startPrograms } from "./steps/apply-steps.ts";
import { approveCommit } from "./steps/commit-steps.ts";
import { guardTrust, narrowIfDistrusted } from "./steps/guard-trust.ts";
import { checkHistory } from "./steps/history-steps.ts";
import { waitForOperator, waitForWindow } from "./steps/hold-steps.ts";
import { compileCommit, readPolicy, refuseBadRelease } from "./steps/policy-steps.ts";
import { followRoots } from "./steps/root-steps.ts";
import { openHead, pollHead } from "./steps/source-steps.ts";
import { approveContent, rememberVerified } from "./steps/trust-steps.ts";

/** The whole story, in the order of the data. A step gives the next one what it found out, or ends the cycle. */
const steps: { readonly [Name in (typeof cycleSteps)[number]]: (agent: Agent, cycle: Cycle) => Promise<StepResult> } = {
  pollHead,
  startPrograms,
  openHead,
  followRoots,
  approveCommit,
  approveContent,
  checkHistory,
  rememberVerified,
  readPolicy,
  narrowIfDistrusted,
  compileCommit,
  holdForBreakGlass,
  confirmUnchanged,
  refuseBadRelease,
  waitForOperator,
  waitForWindow,
  stageRelease,
  applyStaged,
};

/**
 * Does one cycle: poll, and when the branch moved, verify, compile, apply and report. Returns how it ended; never throws
 * for anything that the repository, the server or the machine does. What is enforced changes only in the apply step.
 */
export async function reconcile(agent: Agent, signal: AbortSignal): Promise<CycleOutcome> {
  const startedAtMs = nowMs();
  let cycle: Cycle = { signal, commit: null };
  const outcome = await (async (): Promise<CycleOutcome> => {
    try {
      for (const name of cycleSteps) {
        const result = await agent.apply.step(name, () => steps[name](agent, cycle));
        if ("done" in result) return result.done;
        cycle = { ...cycle, ...result };
      }
      throw new Error("the last step did not end the cycle");
    } catch (error) {
      return endWithError(cycle, toStepError(error, "the cycle failed"));
    } finally {
      // They were started before it was known whether there is anything to apply.
      cycle.timer?.dismiss();
      cycle.probes?.dismiss();
    }
  })();
  await agent.apply.step("report", () => settle(agent, outcome, nowMs() - startedAtMs));
  await guardTrust(agent, signal);
  return outcome;
}

const endings = {
  ...{ retry: "failed", hold: "refused", stop: "refused", wait: "waiting", "roll-back": "rolled-back" },
} as const satisfies Record<Response, CycleOutcome["kind"]>;

function endWithError(cycle: Cycle, error: AgentError): CycleOutcome {
  const { response } = codes[error.code];
  return { kind: endings[response], commit: cycle.commit, error };
}

/** Logs and reports how a cycle ended, and remembers a commit that needs no second look. */
async function settle(agent: Agent, outcome: CycleOutcome, tookMs: number): Promise<void> {
  const { log, memory, reporter } = agent;
  if (outcome.kind === "unchanged") {
    log.debug({ event: "cycle-unchanged", commit: outcome.commit, tookMs });
  } else if (outcome.kind === "confirmed") {
    memory.settledCommit = outcome.commit;
    const { commit, serial, approvedBy } = outcome;
    log.info({ event: "cycle-confirmed", commit, serial, approvedBy, changed: outcome.changed, tookMs });
    await reporter?.post(commit, outcome.report);
  } else {
    const { code, message, remedy } = outcome.error;
    log.warn({ event: `cycle-${outcome.kind}`, commit: outcome.commit, code, reason: message, remedy, tookMs });
    if (outcome.kind !== "failed" && outcome.kind !== "waiting") memory.settledCommit = outcome.commit;
    if (outcome.commit !== null) await reporter?.post(outcome.commit, { kind: outcome.kind, code, message });
  }
  memory.last = { outcome, atMs: nowMs() };
  noteCycle(memory.activity, outcome, memory.last.atMs, tookMs);
}
