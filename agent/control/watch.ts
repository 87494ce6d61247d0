import type { Agent } from "../agent.ts";
import { codes, toAgentError } from "../errors.ts";
import { sleepMs } from "../host/clock.ts";

const WATCH_MS = 250;

/**
 * Looks after something four times a second or as often as it says, less often while it fails; what goes wrong is logged
 * when it is something new.
 */
export async function watch(
  agent: Agent,
  signal: AbortSignal,
  retryMs: number,
  look: () => Promise<void>,
  everyMs = WATCH_MS,
): Promise<void> {
  let said = "";
  while (!signal.aborted) {
    let waitMs = everyMs;
    try {
      await look();
      said = "";
    } catch (error) {
      const { code, message, remedy } = toAgentError(error, "HOST_SERVICE", "a part does not come back");
      const next = codes[code].response;
      if (message !== said) agent.log.error({ event: "part-down", code, reason: message, remedy, next });
      said = message;
      waitMs = retryMs;
    }
    await sleepMs(waitMs, signal).catch(() => {
      // Told to stop: the loop's condition ends it.
    });
  }
}
