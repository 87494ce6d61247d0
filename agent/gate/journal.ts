import { parsePortRange, portText } from "../policy/ports.ts";
import type { LiveGrant } from "./grant-table.ts";
import type { JournalEntry } from "./restore-ledger.ts";

/** Returns the line that tells a restarted gate what a pair of group and grant stands for. */
export function journalLine({ groupMark, groupName, grant }: LiveGrant): string {
  const range = portText(grant.range);
  return JSON.stringify({ grant: grant.mark, groupMark, group: groupName, name: grant.name, range });
}

/** Returns the entries of a journal. A line that is cut off or wrong is skipped: its pair is then unknown, and taken back. */
export function parseJournal(text: string): readonly JournalEntry[] {
  return text.split("\n").flatMap((line) => {
    const entry = parseLine(line);
    return entry === null ? [] : [entry];
  });
}

function parseLine(line: string): JournalEntry | null {
  if (line === "" || line.length > 2048) return null;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null; // the last line of a gate that was killed while it wrote
  }
  if (typeof value !== "object" || value === null) return null;
  const { grant, groupMark, group, name, range } = value as { readonly [key: string]: unknown };
  if (!isMark(grant) || !isMark(groupMark)) return null;
  if (typeof group !== "string" || typeof name !== "string" || typeof range !== "string") return null;
  const parsed = parsePortRange(range);
  return parsed.ok ? { grant, groupMark, group, name, range: parsed.value } : null;
}

function isMark(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 0xffff_ffff;
}
