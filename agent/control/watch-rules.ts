import type { Agent } from "../agent.ts";
import { createDriftLook } from "../apply/drift.ts";
import { guardTables } from "../apply/guard-tables.ts";
import { readLifeline } from "../apply/lifeline-note.ts";
import { enforceConfirmed, hasUnfinished, settleConfirmed } from "../apply/start-enforcing.ts";
import { winTransaction } from "../apply/transaction.ts";
import type { AgentError } from "../errors.ts";
import { monotonicMs } from "../host/clock.ts";
import { tryWriteStatus } from "../report/status-file.ts";
import { tellRestored } from "../report/tell-restored.ts";
import { judgeDrift } from "./judge-drift.ts";
import type { Liveness } from "./liveness.ts";
import { watch } from "./watch.ts";

/** For so long everything may be open when another tool flushes all rules. A look takes 40 µs. */
const TABLES_MS = 20;
const TABLES_RETRY_MS = 250;
const DRIFT_MS = 10_000;
/** A look at 100,000 networks takes a second: it is then made less often. */
const DRIFT_SHARE = 20;
const REVERT_RETRY_MS = 2_000;

/** The tables are what denies: they are put back at once when another tool took them away, though an apply is under way. */
export async function watchTables(agent: Agent, signal: AbortSignal, liveness: Liveness): Promise<void> {
  const restore = await guardTables(agent.apply);
  await watch(
    agent,
    signal,
    TABLES_RETRY_MS,
    async () => {
      if (!(await restore().finally(liveness.noteLook))) return;
      agent.log.warn({ event: "tables-restored" });
      await judgeDrift(agent, "the tables, which were gone or made anew");
    },
    TABLES_MS,
  );
}

/** Tables that stand may have been changed by hand, and zones as well: what they hold is compared every ten seconds. */
export async function watchDrift(agent: Agent, signal: AbortSignal): Promise<void> {
  const { settings, memory, log } = agent;
  const look = createDriftLook(agent.apply);
  let dueMs = monotonicMs() + DRIFT_MS;
  await watch(agent, signal, DRIFT_MS, async () => {
    const startedMs = monotonicMs();
    // An operator's word does not wait for the next look.
    if (startedMs < dueMs && !memory.mayHealOnce) return;
    dueMs = startedMs + DRIFT_MS;
    const mayHeal = settings.drift.response === "heal" || memory.mayHealOnce;
    // Taken before the look: an operator's word that comes during it is for the next one.
    memory.mayHealOnce = false;
    const found = await look(mayHeal);
    const held = found === null || found.isHealed ? null : found.what;
    if (held !== memory.activity.drift.held) {
      if (held !== null) log.error({ event: "drift-held", what: held, remedy: "`clawgress resume` puts it right" });
      memory.activity.drift.held = held;
      await tryWriteStatus(agent);
    }
    if (found === null || !found.isHealed) {
      dueMs = startedMs + Math.max(DRIFT_MS, DRIFT_SHARE * (monotonicMs() - startedMs));
      return;
    }
    log.warn({ event: "drift-restored", what: found.what });
    await judgeDrift(agent, found.what);
    await tryWriteStatus(agent);
  });
}

/**
 * What could not be ended is tried again until it holds: a revert, a pointer that did not move, a release that is not in
 * force. The head is looked at again then, and when a release is damaged, for its own commit may be what heals it.
 */
export async function watchReverts(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply, memory } = agent;
  let said = "";
  await watch(agent, signal, REVERT_RETRY_MS, async () => {
    const failure = await apply.inTurn(() => finishEarlier(agent));
    if (failure?.code === "APPLY_RELEASE_DAMAGED" && failure.message !== said) memory.settledCommit = null;
    said = failure?.message ?? "";
    if (failure !== null) throw failure;
  });
}

async function finishEarlier(agent: Agent): Promise<AgentError | null> {
  const { apply, log, memory } = agent;
  if (!(await hasUnfinished(apply))) return null;
  await settleConfirmed(apply);
  // In turn with applies, so one that is armed is nobody's any more.
  await winTransaction(apply.paths.transaction, "reverting");
  const wasClosed = (await readLifeline(apply.paths.lifeline)) !== null;
  const failure = await apply.locked(() => enforceConfirmed(apply, null));
  if (failure !== null) return failure;
  log.warn({ event: "revert-finished" });
  memory.settledCommit = null;
  if (wasClosed) await tellRestored(agent);
  await tryWriteStatus(agent);
  return null;
}
