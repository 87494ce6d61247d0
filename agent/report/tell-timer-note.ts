import type { Agent } from "../agent.ts";
import { readLifeline } from "../apply/lifeline-note.ts";
import { readTimerNote, removeTimerNote } from "../apply/timer-note.ts";
import { notConfirmed } from "../apply/transaction.ts";
import { AgentError, codes } from "../errors.ts";

/** Reports what the revert timer did while this agent was away, as the end of that commit's cycle. Called once after a start. */
export async function tellTimerNote(agent: Agent): Promise<void> {
  const { paths, log, memory, reporter } = agent;
  const note = await readTimerNote(paths.timerNote);
  if (note === null) return;
  const { commit } = note;
  // What the timer could not put back, the start of this agent may have.
  const isBack = (await readLifeline(paths.lifeline)) === null;
  const { code, message } = isBack ? notConfirmed() : new AgentError("APPLY_REVERT_FAILED", note.message);
  log.warn({ event: "reverted-by-timer", ...note, code, next: codes[code].response });
  const kind = isBack ? "rolled-back" : "rollback-failed";
  memory.last = { outcome: { kind, commit, error: new AgentError(code, message) }, atMs: Date.parse(note.at) };
  await reporter?.post(commit, { kind, code, message });
  await removeTimerNote(paths.timerNote);
}
