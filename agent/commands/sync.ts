import type { Agent } from "../agent.ts";
import { startEnforcing } from "../apply/start-enforcing.ts";
import type { CycleOutcome } from "../cycle.ts";
import { codes } from "../errors.ts";
import { createLog } from "../host/log.ts";
import { lockInstance } from "../host/single-instance.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { reconcile } from "../reconcile.ts";
import { writeStatusFile } from "../report/status-file.ts";
import { tellClosed } from "../report/tell-restored.ts";
import { tellTimerNote } from "../report/tell-timer-note.ts";
import { pathsOf } from "../settings/paths.ts";
import { closeAgent, openAgent } from "../start.ts";
import { loadSettings } from "./load-settings.ts";
import { describeError, type Output } from "./output.ts";

const DRAIN_MS = 10_000;

/** Does one cycle and says how it ended. Returns 0 when the head of the branch is what is enforced, else the code's status. */
export async function syncOnce(options: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const log = createLog("agent", 2);
  const lock = await lockInstance(pathsOf(settings).agentLock);
  try {
    const apply = await openApplyContext(settings, options.config, log);
    const failure = await startEnforcing(apply);
    const agent = await openAgent(settings, apply, log);
    try {
      if (failure !== null) await tellClosed(agent, failure);
      return tell(await cycleOnce(agent), output);
    } finally {
      await closeAgent(agent);
    }
  } finally {
    await lock.release();
  }
}

async function cycleOnce(agent: Agent): Promise<CycleOutcome> {
  await tellTimerNote(agent);
  const controller = new AbortController();
  const outcome = await reconcile(agent, controller.signal);
  await writeStatusFile(agent);
  const timer = setTimeout(() => controller.abort(), DRAIN_MS);
  await agent.reporter?.drain(controller.signal);
  clearTimeout(timer);
  return outcome;
}

function tell(outcome: CycleOutcome, output: Output): number {
  if (outcome.kind === "unchanged" || outcome.kind === "confirmed") {
    output.line(
      outcome.kind === "confirmed" ? describeConfirmed(outcome) : `nothing new: ${outcome.commit} was settled before`,
    );
    output.document({ ok: true, outcome: outcome.kind, commit: outcome.commit });
    return 0;
  }
  const { kind, commit, error } = outcome;
  output.line(`${kind}: ${commit ?? "no commit"}\n${describeError(error)}`);
  output.document({ ok: false, outcome: kind, commit, code: error.code, message: error.message, remedy: error.remedy });
  return codes[error.code].exit;
}

function describeConfirmed(outcome: Extract<CycleOutcome, { kind: "confirmed" }>): string {
  const by = outcome.approvedBy.length === 0 ? "nobody (insecure)" : outcome.approvedBy.join(", ");
  const what = outcome.changed ? "enforced" : "enforced already";
  return `${what}: ${outcome.commit} (serial ${outcome.serial}, approved by ${by})`;
}
