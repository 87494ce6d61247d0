import { startEnforcing } from "../apply/start-enforcing.ts";
import { createLog } from "../host/log.ts";
import { lockInstance } from "../host/single-instance.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { doRequest } from "../operator/do-request.ts";
import { askAgent, type OperatorAnswer, type OperatorRequest, unwrap } from "../operator/requests.ts";
import { pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { closeAgent, openAgent } from "../start.ts";
import { agentRuns, type HoldOptions, noteOf } from "./hold.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

/** Beyond the confirm timeout: staging before it, and a revert after it. */
const MARGIN_MS = 60_000;

export interface RollbackOptions extends HoldOptions {
  readonly serial?: number;
}

/**
 * Puts a release back in force that was confirmed before, by the agent that runs or, when none does, by itself. Returns 0
 * when it is in force. @throws AgentError USAGE, HELD_LOCKDOWN, APPLY_*, HEALTH_FAILED
 */
export async function rollback(options: RollbackOptions, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const paths = pathsOf(settings);
  const { by, reason } = noteOf(options);
  const request: OperatorRequest = { verb: "rollback", serial: options.serial ?? null, by, reason };
  const answer = (await agentRuns(paths))
    ? await askAgent(paths, request, settings.health.confirmTimeoutMs + MARGIN_MS)
    : await doItself(settings, options.config, request);
  const message = unwrap(answer);
  output.line(message);
  output.document({ ok: true, message });
  return 0;
}

async function doItself(settings: Settings, config: string, request: OperatorRequest): Promise<OperatorAnswer> {
  const log = createLog("agent", 2);
  const lock = await lockInstance(pathsOf(settings).agentLock);
  try {
    const apply = await openApplyContext(settings, config, log);
    await startEnforcing(apply);
    const agent = await openAgent(settings, apply, log);
    try {
      return await doRequest(agent, request);
    } finally {
      await closeAgent(agent);
    }
  } finally {
    await lock.release();
  }
}
