import { AgentError } from "../errors.ts";
import { bootTimeMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { Paths } from "../settings/paths.ts";

/** That another program changed our tables or zones again and again; in the run folder, so that it is gone after a reboot. */
export interface FightNote {
  /** What was changed last. */
  readonly what: string;
  /** Until then only the lifeline is open, in milliseconds since boot. */
  readonly untilBootMs: number;
}

/** So many restorations within so long are a fight. An administrator who tries something out makes one or two. */
const RESTORATIONS = 10;
const WITHIN_MS = 10 * 60_000;
/** How long only the lifeline is open at first; twice as long each time that the fight goes on after it. */
const FIRST_HOLD_MS = 60_000;
const MAX_HOLD_MS = 16 * 60_000;
const MAX_NOTE_BYTES = 16 * 1024;

/** Counts restorations. Times are in milliseconds since boot. */
export interface FightWatch {
  /** Returns for how long what is fought over must be closed now, or null when this is no fight. */
  readonly note: (atMs: number) => number | null;
  /** An operator says that it is over. */
  readonly forget: () => void;
}

/** Returns a watch that has seen nothing yet. */
export function createFightWatch(): FightWatch {
  let times: readonly number[] = [];
  let last: { readonly endMs: number; readonly holdMs: number } | null = null;
  return {
    note: (atMs) => {
      if (last !== null && atMs < last.endMs) return null;
      if (last !== null && atMs - last.endMs < WITHIN_MS) {
        const holdMs = Math.min(2 * last.holdMs, MAX_HOLD_MS);
        last = { endMs: atMs + holdMs, holdMs };
        return holdMs;
      }
      last = null;
      times = [...times.filter((time) => atMs - time < WITHIN_MS), atMs];
      if (times.length < RESTORATIONS) return null;
      times = [];
      last = { endMs: atMs + FIRST_HOLD_MS, holdMs: FIRST_HOLD_MS };
      return FIRST_HOLD_MS;
    },
    forget: () => {
      times = [];
      last = null;
    },
  };
}

/** Writes down that there is a fight. @throws AgentError HOST_FILE */
export async function writeFight(path: string, note: FightNote): Promise<void> {
  await replaceFile(path, `${JSON.stringify(note, null, 2)}\n`);
}

/** Throws while a fight keeps everything but the lifeline closed. @throws AgentError HELD_FIGHT */
export async function requireNoFight({ fight }: Pick<Paths, "fight">): Promise<void> {
  const note = parseNote(await readFileIfAny(fight, MAX_NOTE_BYTES));
  if (note === null) return;
  const leftMs = note.untilBootMs - bootTimeMs();
  // One that would hold for longer than any does is damaged, and the next restoration says anew what is so.
  if (leftMs <= 0 || leftMs > MAX_HOLD_MS) return;
  throw new AgentError("HELD_FIGHT", `another program changed what is enforced again and again, last ${note.what}`, {
    remedy: "find the program and end it; `clawgress resume` puts the policy in force at once",
  });
}

function parseNote(bytes: Buffer | null): FightNote | null {
  try {
    const { what, untilBootMs } = JSON.parse(bytes?.toString("utf8") ?? "") as Partial<FightNote>;
    return typeof what === "string" && typeof untilBootMs === "number" ? { what, untilBootMs } : null;
  } catch {
    // There is none, or it is damaged: as above.
    return null;
  }
}
