import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { ConfirmedPointer } from "../trust/pointers.ts";

/** A release that was confirmed: what `clawgress rollback` may go back to. */
export interface HistoryEntry {
  readonly release: string;
  readonly serial: number;
  readonly commit: string;
  /** ISO 8601, UTC. */
  readonly at: string;
  /** Who put it back and why, when it was no commit that brought it. */
  readonly rollback?: { readonly by: string; readonly reason: string };
}

const MAX_ENTRIES = 500;
const MAX_FILE_BYTES = 1024 * 1024;

/** Returns what was confirmed, oldest first. A damaged file counts as empty: it only tells what one could go back to. */
export async function readHistory(path: string): Promise<readonly HistoryEntry[]> {
  const bytes = await readFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === null) return [];
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return Array.isArray(value) ? (value as HistoryEntry[]) : [];
  } catch {
    return [];
  }
}

/** Adds what has just been confirmed; the oldest beyond five hundred are forgotten. @throws AgentError HOST_FILE */
export async function addToHistory(
  path: string,
  { release, serial, commit, at }: ConfirmedPointer,
  rollback?: HistoryEntry["rollback"],
): Promise<void> {
  if (release === null || commit === null || at === null) return;
  const entries = await readHistory(path);
  const entry = { release, serial, commit, at, ...(rollback === undefined ? {} : { rollback }) };
  await replaceFile(path, `${JSON.stringify([...entries, entry].slice(-MAX_ENTRIES), null, 1)}\n`);
}
