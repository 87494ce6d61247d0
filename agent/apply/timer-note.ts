import { unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { readFileIfAny, replaceFile, syncFolder } from "../host/files.ts";

/** What a revert timer did while the agent was away, for the agent to report. */
export interface TimerNote {
  readonly commit: string;
  readonly serial: number;
  /** `reverted`: the old release is in force again. `rollback-failed`: it is not; only the lifeline is open. */
  readonly outcome: "reverted" | "rollback-failed";
  readonly message: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

const MAX_FILE_BYTES = 64 * 1024;

/** Leaves the note, durably. A later one replaces it: only one change is in flight at a time. */
export async function writeTimerNote(path: string, note: TimerNote): Promise<void> {
  await replaceFile(path, `${JSON.stringify(note, null, 2)}\n`);
}

/** Returns the note, or null when there is none or it says nothing. */
export async function readTimerNote(path: string): Promise<TimerNote | null> {
  const bytes = await readFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === null) return null;
  try {
    const note = JSON.parse(bytes.toString("utf8")) as Partial<TimerNote>;
    return typeof note.commit === "string" && typeof note.message === "string" ? (note as TimerNote) : null;
  } catch {
    return null;
  }
}

/** Removes the note, once it is in the outbox: a crash before that reports it twice, which changes nothing. */
export async function removeTimerNote(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await syncFolder(dirname(path));
}
