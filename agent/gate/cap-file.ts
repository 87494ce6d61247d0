import { type KnownUsage, usageKey } from "./cap-ledger.ts";

const PERIODS: readonly string[] = ["second", "minute", "hour", "day"];

/** Returns usages as the text of the file that outlives a reboot. */
export function usagesText(usages: Iterable<KnownUsage>): string {
  const lines = [...usages].map(({ group, pattern, period, startMs, used, mark }) =>
    JSON.stringify({ group, pattern, period, startMs, used, ...(mark === undefined ? {} : { mark }) }),
  );
  return `{"schema":1,"usages":[\n${lines.join(",\n")}\n]}\n`;
}

/** Returns the usages of a file by their keys, or null for a text that this program did not write. */
export function parseUsages(text: string): ReadonlyMap<string, KnownUsage> | null {
  try {
    const { schema, usages } = JSON.parse(text) as { readonly schema?: unknown; readonly usages?: unknown };
    if (schema !== 1 || !Array.isArray(usages) || !usages.every(isUsage)) return null;
    return new Map(usages.map((usage) => [usageKey(usage), usage]));
  } catch {
    return null;
  }
}

function isUsage(value: unknown): value is KnownUsage {
  if (typeof value !== "object" || value === null) return false;
  const { group, pattern, period, startMs, used, mark } = value as { readonly [key: string]: unknown };
  return (
    typeof group === "string" &&
    typeof pattern === "string" &&
    typeof period === "string" &&
    PERIODS.includes(period) &&
    Number.isSafeInteger(startMs) &&
    Number.isSafeInteger(used) &&
    (used as number) >= 0 &&
    (mark === undefined || Number.isSafeInteger(mark))
  );
}
