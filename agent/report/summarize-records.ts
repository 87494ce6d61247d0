import type { DenyRecord } from "../gate/deny-record.ts";

/** How often something was denied: as many lines as name it, and the denials that they stand for. */
export interface Ranked {
  readonly what: string;
  readonly lines: number;
  /** Lines, and what was left out beside them: of the same client and reason, so exact for clients alone. */
  readonly denials: number;
}

/** What the files of deny records say. */
export interface RecordSummary {
  readonly lines: number;
  /** Lines of what the proxy allowed; they are in no other figure. */
  readonly allowed: number;
  /** Lines that are no record. */
  readonly damaged: number;
  readonly denials: number;
  readonly suppressed: number;
  /** Times of the first and last line, ISO 8601; null when there is none. */
  readonly from: string | null;
  readonly to: string | null;
  readonly names: readonly Ranked[];
  readonly destinations: readonly Ranked[];
  readonly clients: readonly Ranked[];
}

type Counts = Map<string, { lines: number; denials: number }>;

/** Returns what lines of deny records amount to, with the `top` most frequent names, destinations and clients. */
export function summarizeRecords(lines: Iterable<string>, top: number): RecordSummary {
  const names: Counts = new Map();
  const destinations: Counts = new Map();
  const clients: Counts = new Map();
  const totals = { lines: 0, allowed: 0, damaged: 0, denials: 0, suppressed: 0 };
  let from: string | null = null;
  let to: string | null = null;
  for (const line of lines) {
    const record = parseRecord(line);
    if (record === null) {
      totals.damaged += 1;
      continue;
    }
    if (record.verdict === "allow") {
      totals.allowed += 1;
      continue;
    }
    totals.lines += 1;
    totals.suppressed += record.suppressed;
    totals.denials += 1 + record.suppressed;
    if (from === null || record.ts < from) from = record.ts;
    if (to === null || record.ts > to) to = record.ts;
    count(clients, clientText(record), record);
    if (record.name !== null) count(names, record.name, record);
    if (record.destination !== null) count(destinations, destinationText(record), record);
  }
  return {
    ...totals,
    ...{ from, to },
    names: rank(names, "lines", top),
    destinations: rank(destinations, "lines", top),
    clients: rank(clients, "denials", top),
  };
}

/** The proxy writes down what it allows, too. */
type AnyRecord = Omit<DenyRecord, "verdict"> & { readonly verdict: DenyRecord["verdict"] | "allow" };

/** The files belong to another user: what is read here is checked here. */
function parseRecord(line: string): AnyRecord | null {
  try {
    const value = JSON.parse(line) as Partial<AnyRecord> | null;
    const { schema, ts, client, suppressed, name, destination } = value ?? {};
    if (schema !== 1 || typeof ts !== "string" || typeof client !== "string") return null;
    if (!Number.isSafeInteger(suppressed) || (suppressed ?? -1) < 0) return null;
    if (!isTextOrNull(name) || !isTextOrNull(destination)) return null;
    return value as AnyRecord;
  } catch {
    return null;
  }
}

function isTextOrNull(value: unknown): boolean {
  return value === null || typeof value === "string";
}

function clientText({ client, host }: AnyRecord): string {
  return typeof host === "string" ? `${client} (${host})` : client;
}

function destinationText({ destination, port, protocol }: AnyRecord): string {
  const address = destination?.includes(":") ? `[${destination}]` : destination;
  return port === null ? `${address} ${protocol}` : `${address}:${port}/${protocol}`;
}

function count(counts: Counts, what: string, { suppressed }: AnyRecord): void {
  const known = counts.get(what) ?? { lines: 0, denials: 0 };
  known.lines += 1;
  known.denials += 1 + suppressed;
  counts.set(what, known);
}

function rank(counts: Counts, by: "lines" | "denials", top: number): readonly Ranked[] {
  const all = [...counts].map(([what, { lines, denials }]) => ({ what, lines, denials }));
  all.sort((a, b) => b[by] - a[by] || (a.what < b.what ? -1 : 1));
  return all.slice(0, top);
}
