import { startEnforcing } from "../apply/start-enforcing.ts";
import type { CycleOutcome } from "../cycle.ts";
import { codes } from "../errors.ts";
import { createLog } from "../host/log.ts";
import { lockInstance } from "../host/single-instance.ts";
import { reconcile } from "../reconcile.ts";
import { writeStatusFile } from "../report/status-file.ts";
import { pathsOf } from "../settings/paths.ts";
import { openAgent, openApplyContext } from "../start.ts";
import { loadSettings } from "./load-settings.ts";
import { describeError, type Output } from "./output.ts";

const DRAIN_MS = 10_000;

/** Does one cycle and says how it ended. Returns 0 when the head of the branch is what is enforced, else the code's status. */
export async function syncOnce(options: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const log = createLog("agent", 2);
  const lock = await lockInstance(pathsOf(settings).agentLock);
  const apply = await openApplyContext(settings, options.config, log);
  const agent = await openAgent(settings, apply, log);
  const controller = new AbortController();
  try {
    await startEnforcing(apply);
    const outcome = await reconcile(agent, controller.signal);
    await writeStatusFile(agent);
    const timer = setTimeout(() => controller.abort(), DRAIN_MS);
    await agent.reporter?.drain(controller.signal);
    clearTimeout(timer);
    return tell(outcome, output);
  } finally {
    await agent.reporter?.close();
    await agent.source.close();
    await lock.release();
  }
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
