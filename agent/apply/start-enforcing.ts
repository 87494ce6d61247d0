import { AgentError } from "../errors.ts";
import { ensureProbeNamespace } from "../health/namespace.ts";
import { probeAddresses } from "../settings/settings.ts";
import { enableForwarding, ensureBase } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
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
  await ensureProbeNamespace(settings.health.namespace, probeAddresses(settings.health));
  const unfinished = await readUnfinished(paths.armed);
  if (unfinished !== null) log.warn({ event: "apply-unfinished", ...unfinished });
  const release = await openIfWhole(context);
  await ensureGate(context);
  if (release !== null) {
    await putInForce(context, release);
    await winTransaction(paths.armed, "reverting");
    await closeRevert(paths.armed);
  }
  await tryPacketLog(context);
  await enableForwarding();
}

async function putInForce(context: ApplyContext, release: CheckedRelease): Promise<void> {
  const { log } = context;
  try {
    await readBack(context, release);
    log.info({ event: "enforcing", release: release.digest, restored: false });
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    log.info({ event: "restoring", release: release.digest, because: error.message });
    await swapRelease(context, release);
    await readBack(context, release);
    log.info({ event: "enforcing", release: release.digest, restored: true });
  }
}
