import { startEnforcing } from "../apply/start-enforcing.ts";
import { codes } from "../errors.ts";
import { createLog } from "../host/log.ts";
import { readPointers } from "../host/pointer-store.ts";
import { lockInstance } from "../host/single-instance.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { pathsOf } from "../settings/paths.ts";
import { loadSettings } from "./load-settings.ts";
import { describeError, type Output } from "./output.ts";

/**
 * Puts in force what was confirmed last, from disk: for a unit that runs before the network is up. The same as the first
 * thing that `run` does. Returns 0, or the code's status when only the lifeline is open.
 * @throws AgentError SETTINGS_INVALID, STATE_CORRUPT, STATE_LOCKED when an agent runs: then there is nothing to do.
 */
export async function bootGateway(options: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const lock = await lockInstance(pathsOf(settings).agentLock);
  try {
    const context = await openApplyContext(settings, options.config, createLog("agent", 2));
    const failure = await startEnforcing(context);
    const { confirmed } = await readPointers(context.paths.pointers);
    const state = failure === null ? "enforcing" : "closed";
    if (failure !== null) output.line(`only the lifeline is open\n${describeError(failure)}`);
    else if (confirmed.release === null) output.line("nothing is confirmed yet: everything but the lifeline is denied");
    else output.line(`enforced: serial ${confirmed.serial}, commit ${confirmed.commit}, since ${confirmed.at}`);
    output.document({
      ...{ ok: failure === null, state, confirmed: { ...confirmed } },
      ...(failure === null ? {} : { code: failure.code, message: failure.message, remedy: failure.remedy }),
    });
    return failure === null ? 0 : codes[failure.code].exit;
  } finally {
    await lock.release();
  }
}
