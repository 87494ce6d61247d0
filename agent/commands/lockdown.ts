import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ensureBase } from "../apply/base-service.ts";
import type { ApplyContext } from "../apply/context.ts";
import { heldBy, removeHold, writeHold } from "../apply/hold-notes.ts";
import { hasTable, loadRuleset } from "../apply/kernel.ts";
import { readLifeline, writeLifeline } from "../apply/lifeline-note.ts";
import { removeProxy } from "../apply/proxy-service.ts";
import { startEnforcing } from "../apply/start-enforcing.ts";
import { lifelineRuleset } from "../compile/nft-objects.ts";
import { AgentError, codes, toAgentError } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { stopDaemon } from "../host/daemon.ts";
import { createLog } from "../host/log.ts";
import { runChecked } from "../host/run.ts";
import { lockInstance } from "../host/single-instance.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { DEFAULT_PATHS, type Paths, pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { agentRuns, type HoldOptions, noteOf } from "./hold.ts";
import { loadSettings } from "./load-settings.ts";
import { describeError, type Output } from "./output.ts";

const GATE_GRACE_MS = 1_000;
const NFT_TIMEOUT_MS = 20_000;
const END_WAIT_MS = 60_000;
const POLL_MS = 100;

/** Nothing is forwarded at all, the lifeline included: for when not even the base table can be loaded. */
const lastResort = `add table inet clawgress_lockdown
add chain inet clawgress_lockdown forward { type filter hook forward priority -300; policy drop; }
`;

/**
 * Closes everything but the lifeline at once, and keeps it closed over restarts and reboots until it is ended. Needs no
 * agent, no gate, no lock and no sound state; what it cannot do it says. Returns 0 when nothing is forwarded any more.
 */
export async function lockDown(options: HoldOptions, output: Output): Promise<number> {
  const note = noteOf(options);
  const settings = await settingsIfAny(options.config, output);
  const paths = pathsOf(settings ?? { paths: DEFAULT_PATHS });
  const failures: string[] = [];
  const attempt = async (part: string, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      failures.push(`${part}: ${(error as Error).message}`);
      return false;
    }
  };
  // Before anything else, for whoever loads a release at this moment looks for it afterwards.
  await attempt("note", () => writeHold(paths.lockdown, note));
  const hasClosed = await attempt("policy table", () => loadRuleset(lifelineRuleset));
  const hasBase = await attempt("base table", () => standBase(settings, options.config, paths));
  const isRegular = hasClosed && hasBase && settings !== null;
  // Without agent.json nobody knows where the agent keeps its state, so it may load rules again: this table is not its own.
  const isClosed = isRegular || (await attempt("last resort", () => loadRuleset(lastResort)));
  await attempt("gate", () => withdrawGate(paths));
  await attempt("proxy", () => removeProxy({ paths }));
  const { code, message } = heldBy("HELD_LOCKDOWN", note);
  await attempt("status", () => writeLifeline(paths.lifeline, { state: "lockdown", code, message, since: note.since }));
  for (const failure of failures) output.note(`could not: ${failure}`);
  output.line(isClosed ? closedText(isRegular) : "NOT CLOSED: no rule could be loaded; take the cable out");
  output.document({ ok: isClosed, lockdown: { ...note }, failures });
  return isClosed ? 0 : codes.APPLY_FAILED.exit;
}

function closedText(isRegular: boolean): string {
  const end = "`clawgress lockdown --end` ends it";
  return isRegular ? `locked down: only the lifeline is open; ${end}` : `locked down: nothing is forwarded; ${end}`;
}

async function settingsIfAny(config: string, output: Output): Promise<Settings | null> {
  try {
    return await loadSettings(config);
  } catch (error) {
    output.note(describeError(toAgentError(error, "SETTINGS_INVALID", "agent.json")));
    return null;
  }
}

/** The table from agent.json, or the one that was loaded last. */
async function standBase(settings: Settings | null, config: string, paths: Paths): Promise<void> {
  if (await hasTable("clawgress_base").catch(() => false)) return;
  if (settings === null) await runChecked(["nft", "-f", paths.base], { timeoutMs: NFT_TIMEOUT_MS });
  else await ensureBase(await openApplyContext(settings, config, createLog("agent", 2)));
}

/** A gate that starts again finds no release and denies everything. */
async function withdrawGate(paths: Pick<Paths, "gate" | "gatePid">): Promise<void> {
  await rm(join(paths.gate, "release"), { force: true });
  await stopDaemon(paths.gatePid, GATE_GRACE_MS);
}

/**
 * Ends a lockdown: what was confirmed is put in force again, by the agent that runs or, when none does, by itself.
 * Returns 0 when it is. @throws AgentError SETTINGS_INVALID, STATE_*, APPLY_REVERT_FAILED
 */
export async function endLockdown({ config }: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(config);
  const paths = pathsOf(settings);
  const was = await removeHold(paths.lockdown);
  if (await hasTable("clawgress_lockdown")) {
    await runChecked(["nft", "delete", "table", "inet", "clawgress_lockdown"], { timeoutMs: NFT_TIMEOUT_MS });
  }
  if (await agentRuns(paths)) await awaitRestored(paths);
  else await restoreItself(await openApplyContext(settings, config, createLog("agent", 2)));
  output.line(was ? "lockdown ended: what was confirmed is in force again" : "there was no lockdown");
  output.document({ ok: true, wasLockedDown: was });
  return 0;
}

async function awaitRestored({ lifeline }: Paths): Promise<void> {
  const endMs = monotonicMs() + END_WAIT_MS;
  for (;;) {
    const note = await readLifeline(lifeline);
    if (note === null) return;
    if (monotonicMs() > endMs) {
      throw new AgentError("APPLY_REVERT_FAILED", `still closed: ${note.message}`, { remedy: "see the agent's log" });
    }
    await sleepMs(POLL_MS);
  }
}

async function restoreItself(context: ApplyContext): Promise<void> {
  const lock = await lockInstance(context.paths.agentLock);
  try {
    const failure = await startEnforcing(context);
    if (failure !== null) throw failure;
  } finally {
    await lock.release();
  }
}
