import type { DenyTotals } from "../gate/deny-records.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";

/** What the proxy has denied since somebody writes it down, and the last line of its ring that is in it. */
export interface ProxyTotals extends DenyTotals {
  /** ISO 8601. */
  readonly since: string;
  readonly lastId: string | null;
}

const MAX_BYTES = 64 * 1024;

/** Returns the totals that a file holds, or null when it is missing or holds none. @throws AgentError HOST_FILE */
export async function readProxyTotals(path: string): Promise<ProxyTotals | null> {
  const bytes = await readFileIfAny(path, MAX_BYTES);
  if (bytes === null) return null;
  try {
    const value = JSON.parse(bytes.toString("utf8")) as Partial<ProxyTotals>;
    const isWhole = typeof value.since === "string" && typeof value.denied === "object" && value.denied !== null;
    return isWhole ? (value as ProxyTotals) : null;
  } catch {
    return null;
  }
}

/** Writes totals so that a crash leaves the old ones or the new ones. @throws AgentError HOST_FILE */
export async function writeProxyTotals(path: string, totals: ProxyTotals): Promise<void> {
  await replaceFile(path, `${JSON.stringify(totals)}\n`);
}
