import { rm } from "node:fs/promises";
import { AgentError, type Code } from "../errors.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { Paths } from "../settings/paths.ts";

/** Why an operator keeps this gateway from following the branch. Kept in the state folder: it holds over a reboot. */
export interface HoldNote {
  /** Who said so: a login name, or what `--by` gave. */
  readonly by: string;
  readonly reason: string;
  /** ISO 8601, UTC. */
  readonly since: string;
}

const MAX_NOTE_BYTES = 16 * 1024;

/** Writes a note, durable when it returns. @throws AgentError HOST_FILE */
export async function writeHold(path: string, note: HoldNote): Promise<void> {
  await replaceFile(path, `${JSON.stringify(note, null, 2)}\n`);
}

/** Returns the note at a path, or null. One that is damaged still holds: somebody wrote it for a reason. */
export async function readHold(path: string): Promise<HoldNote | null> {
  const bytes = await readFileIfAny(path, MAX_NOTE_BYTES);
  if (bytes === null) return null;
  try {
    const { by, reason, since } = JSON.parse(bytes.toString("utf8")) as Partial<HoldNote>;
    if (typeof by === "string" && typeof reason === "string" && typeof since === "string") return { by, reason, since };
  } catch {
    // Told below.
  }
  return { by: "unknown", reason: `${path} is damaged`, since: new Date(0).toISOString() };
}

/** Removes a note; returns whether there was one. */
export async function removeHold(path: string): Promise<boolean> {
  const isThere = (await readHold(path)) !== null;
  if (isThere) await rm(path, { force: true });
  return isThere;
}

/** Throws when the gateway is locked down: then nothing but the lifeline may be opened. @throws AgentError HELD_LOCKDOWN */
export async function requireNoLockdown({ lockdown }: Pick<Paths, "lockdown">): Promise<void> {
  const note = await readHold(lockdown);
  if (note !== null) throw heldBy("HELD_LOCKDOWN", note);
}

/** Returns the error of whoever finds that an operator holds the gateway. */
export function heldBy(code: Extract<Code, `HELD_${string}`>, { by, reason, since }: HoldNote): AgentError {
  const what = code === "HELD_LOCKDOWN" ? "locked down" : "suspended";
  const remedy = code === "HELD_LOCKDOWN" ? "`clawgress lockdown --end` ends it" : "`clawgress resume` ends it";
  return new AgentError(code, `${what} by ${by} since ${since}: ${reason}`, { remedy });
}
