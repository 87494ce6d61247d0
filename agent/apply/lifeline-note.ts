import { rm } from "node:fs/promises";
import { type Code, codes } from "../errors.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";

/** Why only the lifeline is open: what should be in force could not be put in force. */
export interface LifelineNote {
  /** `rollback-failed`: a change could not be undone. `closed`: what was confirmed could not be put in force at a start. `lockdown`: an operator's word. */
  readonly state: "rollback-failed" | "closed" | "lockdown";
  readonly code: Code;
  readonly message: string;
  /** ISO 8601, UTC. */
  readonly since: string;
}

const MAX_NOTE_BYTES = 64 * 1024;

/** Leaves the note in the run folder. */
export async function writeLifeline(path: string, note: LifelineNote): Promise<void> {
  await replaceFile(path, `${JSON.stringify(note, null, 2)}\n`);
}

/** Returns why only the lifeline is open, or null when a release is in force. */
export async function readLifeline(path: string): Promise<LifelineNote | null> {
  const bytes = await readFileIfAny(path, MAX_NOTE_BYTES);
  if (bytes === null) return null;
  try {
    const { state, code, message, since } = JSON.parse(bytes.toString("utf8")) as Partial<LifelineNote>;
    if (code !== undefined && code in codes && typeof message === "string" && typeof since === "string") {
      return { state: state === "closed" || state === "lockdown" ? state : "rollback-failed", code, message, since };
    }
  } catch {
    // A damaged note still says that there was a reason to write one.
  }
  return {
    state: "closed",
    code: "APPLY_REVERT_FAILED",
    message: `${path} is damaged`,
    since: new Date(0).toISOString(),
  };
}

/** Removes the note; returns whether there was one. */
export async function removeLifeline(path: string): Promise<boolean> {
  const isThere = (await readLifeline(path)) !== null;
  if (isThere) await rm(path, { force: true });
  return isThere;
}
