import { AgentError } from "../errors.ts";
import { ensureProbeNamespace } from "../health/namespace.ts";
import { probeAddresses } from "../settings/settings.ts";
import { enableForwarding, ensureBase } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import { clearScratch } from "./clear-scratch.ts";
import type { ApplyContext } from "./context.ts";
import { openIfWhole } from "./enforced.ts";
import { ensureGate } from "./gate-service.ts";
import { tryPacketLog } from "./packet-log-service.ts";
import { readBack } from "./read-back.ts";
import { swapRelease } from "./swap.ts";
import { closeRevert, readUnfinished, winTransaction } from "./transaction.ts";

/**
 * Makes what the confirmed pointer says true, from whatever a start, a crash or a reboot left: the base table first, so
 * that nothing is open meanwhile; then gate, named and the release; forwarding last. What reads back as in force already
 * is not touched. Needs neither network nor Git. A confirmed release that is damaged on disk changes nothing: what was in
 * force stays, which after a reboot is nothing, and the next poll compiles it again.
 * @throws AgentError when the release cannot be put in force; the base table then denies everything but the lifeline.
 */
export async function startEnforcing(context: ApplyContext): Promise<void> {
  const { settings, paths, log } = context;
  await ensureBase(context);
  await clearScratch();
  await ensureProbeNamespace(settings.health.namespace, probeAddresses(settings.health));
  const unfinished = await readUnfinished(paths.armed);
  if (unfinished !== null) log.warn({ event: "apply-unfinished", ...unfinished });
  const release = await openIfWhole(context);
  await ensureGate(context);
  if (release !== null) {
    await putInForce(context, release, unfinished === null);
    await winTransaction(paths.armed, "reverting");
    await closeRevert(paths.armed);
  }
  await tryPacketLog(context);
  await enableForwarding();
}

/** A change that was cut off may have left files of its release that nobody has loaded yet: no reading back shows them. */
async function putInForce(context: ApplyContext, release: CheckedRelease, mayStand: boolean): Promise<void> {
  const { log } = context;
  const because = mayStand ? await whyNotInForce(context, release) : "a change was cut off";
  if (because !== null) {
    log.info({ event: "restoring", release: release.digest, because });
    await swapRelease(context, release);
    await readBack(context, release);
  }
  log.info({ event: "enforcing", release: release.digest, restored: because !== null });
}

async function whyNotInForce(context: ApplyContext, release: CheckedRelease): Promise<string | null> {
  try {
    await readBack(context, release);
    return null;
  } catch (error) {
    if (error instanceof AgentError) return error.message;
    throw error;
  }
}
