import { rm } from "node:fs/promises";
import { AgentError } from "../errors.ts";
import { bootTimeMs, readBootId } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { BreakGlassState } from "../report/gateway-status.ts";

/** A policy that is in force though nobody approved it. Its end is of this boot alone: no clock that is set, and no reboot, prolongs it. */
export interface BreakGlassNote extends BreakGlassState {
  readonly bootId: string;
  /** In milliseconds since boot: @see bootTimeMs. */
  readonly deadlineMs: number;
}

const MAX_NOTE_BYTES = 64 * 1024;

/** Leaves the note; durable when it returns. @throws AgentError HOST_FILE */
export async function writeBreakGlass(path: string, note: BreakGlassNote): Promise<void> {
  await replaceFile(path, `${JSON.stringify(note, null, 2)}\n`, 0o600);
}

/** Returns the note while it lasts; null when there is none, its end has come, or it is damaged. @throws AgentError HOST_FILE */
export async function readBreakGlass(path: string): Promise<BreakGlassNote | null> {
  const note = parseNote(await readFileIfAny(path, MAX_NOTE_BYTES));
  if (note === null || note.bootId !== (await readBootId())) return null;
  return bootTimeMs() < note.deadlineMs ? note : null;
}

/** Throws unless what is in force was approved. @throws AgentError BREAK_GLASS, STATE_CORRUPT */
export async function requireNoBreakGlass(path: string): Promise<void> {
  const active = await readBreakGlass(path);
  if (active === null) return;
  throw new AgentError("BREAK_GLASS", `${active.by} broke the glass until ${active.until}: ${active.reason}`, {
    remedy: "end that first with `clawgress policy end-break-glass`",
  });
}

/** Returns whether a note lies there whose end has come. */
export async function isBreakGlassOver(path: string): Promise<boolean> {
  return (await readFileIfAny(path, MAX_NOTE_BYTES)) !== null && (await readBreakGlass(path)) === null;
}

/** Removes the note. */
export async function removeBreakGlass(path: string): Promise<void> {
  await rm(path, { force: true });
}

function parseNote(bytes: Buffer | null): BreakGlassNote | null {
  if (bytes === null) return null;
  try {
    const note = JSON.parse(bytes.toString("utf8")) as Partial<BreakGlassNote>;
    const { by, reason, since, until, release, bootId, deadlineMs } = note;
    const isSound = [by, reason, since, until, release, bootId].every((text) => typeof text === "string");
    return isSound && typeof deadlineMs === "number" ? (note as BreakGlassNote) : null;
  } catch {
    return null;
  }
}
