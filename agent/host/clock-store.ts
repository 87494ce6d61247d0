import { type ClockState, nextPassed } from "../trust/clock.ts";
import { formatTime, parseTime } from "../trust/fields.ts";
import { monotonicMs, nowMs } from "./clock.ts";
import { readFileIfAny, replaceFile } from "./files.ts";

const MAX_BYTES = 256;
/** A power cut may take back this much of what is known to have passed. */
const SAVE_EVERY_MS = 600_000;

/** What a gateway knows of the time beyond its wall clock: @see trust/clock.ts */
export interface PassedClock {
  read(): ClockState;
  /** Makes what has passed durable, from time to time. @throws AgentError HOST_FILE */
  save(): Promise<void>;
}

/** Returns the clock of a gateway; a file that is missing or damaged means that nothing is known. */
export async function openPassedClock(path: string): Promise<PassedClock> {
  const startedAtMs = monotonicMs();
  const passedMs = await readPassed(path);
  let savedMs = passedMs;
  const read = (): ClockState => ({ passedMs, elapsedMs: Math.round(monotonicMs() - startedAtMs), wallMs: nowMs() });
  return {
    read,
    save: async () => {
      const nextMs = nextPassed(read());
      if (nextMs - savedMs < SAVE_EVERY_MS) return;
      await writePassed(path, nextMs);
      savedMs = nextMs;
    },
  };
}

/** Writes down a time as passed. @throws AgentError HOST_FILE */
export async function writePassed(path: string, passedMs: number): Promise<void> {
  await replaceFile(path, `${JSON.stringify({ version: 1, passed: formatTime(passedMs) })}\n`, 0o600);
}

async function readPassed(path: string): Promise<number> {
  try {
    const bytes = await readFileIfAny(path, MAX_BYTES);
    const { passed } = JSON.parse(bytes?.toString("utf8") ?? "{}") as { readonly passed?: unknown };
    return (typeof passed === "string" ? parseTime(passed) : null) ?? 0;
  } catch {
    // Damaged: then only the wall clock is left to go by.
    return 0;
  }
}
