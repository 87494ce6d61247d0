import type { AppendLog } from "../host/append-log.ts";
import { type Plane, type Reason, reasons } from "../policy/reasons.ts";
import type { Denial, DenialDetails, DenyRecord, DenyVerdict } from "./deny-record.ts";

/**
 * Writes one JSON line per denial, within a rate per client and reason and one of all. What is left out is counted in the
 * next line of the same client and reason; when denials end, a closing line that repeats the last one brings the rest.
 * So the lines of a client and reason, each with what it suppressed, add up to all its denials.
 */
export interface DenyRecords {
  /** Counts a denial, or as many equal ones as it is told. */
  note(denial: Denial, count?: number): void;
  /**
   * Counts denials of a client that only their number is known of: the kernel limits what it tells. Returns the reason that
   * they are counted by, or null when the client was never heard of.
   */
  noteUntold(plane: Plane, client: string, count: number): Reason | null;
  /** Writes the closing lines that are due. Call about once a second. */
  flush(): void;
  totals(): DenyTotals;
}

export type PlaneTotals = { readonly [plane in Plane]?: { readonly [reason: string]: number } };

export interface DenyTotals {
  /** Plane → reason → denials since the gate began, written or not. */
  readonly denied: PlaneTotals;
  /** The same of what an audit let pass. */
  readonly audited: PlaneTotals;
  /** Lines written since the gate began. */
  readonly written: number;
  /** Denials that no line counts: their client was forgotten before its next line, or no line ever told of it. */
  readonly unattributed: number;
}

export interface DenyRecordsOptions {
  readonly gateway: string;
  /** Planes that denials come from. */
  readonly planes: readonly Plane[];
  readonly log: Pick<AppendLog, "append">;
  readonly nowMs: () => number;
  readonly monotonicS: () => number;
  /** What an earlier writer had counted, to go on from. */
  readonly earlier?: DenyTotals;
  /** Told when lines cannot be written, at most once a minute; the counters still count them. */
  readonly onError: (error: unknown) => void;
}

/** Denials of one client for one reason on one plane. */
interface Stream extends Bucket {
  readonly plane: Plane;
  readonly verdict: DenyVerdict;
  readonly reason: Reason;
  readonly client: string;
  /** Describes the last denial; once it is written, without holding the policy that it was decided by. */
  describe: () => DenialDetails;
  lastMs: number;
  count: number;
  unwritten: number;
}

interface Bucket {
  tokens: number;
  filledS: number;
}

const BURST = 10;
const LINES_PER_S = 1;
const ALL_BURST = 500;
const ALL_LINES_PER_S = 100;
/** Over this, the client and reason that was silent for longest is forgotten. */
const MAX_STREAMS = 4096;
const ERROR_PAUSE_S = 60;

/** Returns the records over a log. */
export function createDenyRecords(options: DenyRecordsOptions): DenyRecords {
  const streams = new Map<string, Stream>();
  /** The last reason of a client: what is only counted is taken for more of the same. */
  const lastOf = new Map<string, Stream>();
  const pending = new Set<Stream>();
  const { planes, earlier } = options;
  const counts = { deny: countsOf(planes, earlier?.denied), "would-deny": countsOf(planes, earlier?.audited) };
  const all: Bucket = { tokens: ALL_BURST, filledS: options.monotonicS() };
  let written = earlier?.written ?? 0;
  let unattributed = earlier?.unattributed ?? 0;
  let quietUntilS = 0;

  const forget = (key: string, stream: Stream): void => {
    streams.delete(key);
    pending.delete(stream);
    unattributed += stream.unwritten;
    const clientKey = `${stream.plane} ${stream.client}`;
    if (lastOf.get(clientKey) === stream) lastOf.delete(clientKey);
  };
  const streamOf = ({ plane, verdict = "deny", reason, client, describe }: Denial, nowS: number): Stream => {
    const key = `${plane} ${verdict} ${reason} ${client}`;
    let stream = streams.get(key);
    if (stream === undefined) {
      const [oldest] = streams.size >= MAX_STREAMS ? streams : [];
      if (oldest !== undefined) forget(...oldest);
      const fresh = { tokens: BURST, filledS: nowS, lastMs: 0, count: 0, unwritten: 0 };
      stream = { plane, verdict, reason, client, describe, ...fresh };
    }
    // The one that spoke last stands last.
    else streams.delete(key);
    streams.set(key, stream);
    return stream;
  };
  const add = (stream: Stream, count: number): void => {
    stream.count += count;
    stream.unwritten += count;
    const totals = counts[stream.verdict].get(stream.plane);
    totals?.set(stream.reason, (totals.get(stream.reason) ?? 0) + count);
  };
  const mayWrite = (stream: Stream, nowS: number): boolean => {
    fill(stream, BURST, LINES_PER_S, nowS);
    fill(all, ALL_BURST, ALL_LINES_PER_S, nowS);
    if (stream.tokens < 1 || all.tokens < 1) return false;
    stream.tokens -= 1;
    all.tokens -= 1;
    return true;
  };
  const write = (stream: Stream): void => {
    const details = stream.describe();
    stream.describe = () => details;
    const { plane, verdict, reason, client, count, unwritten, lastMs } = stream;
    const record: DenyRecord = {
      ts: new Date(lastMs).toISOString(),
      schema: 1,
      gateway: options.gateway,
      ...{ plane, verdict, reason, severity: reasons[reason].severity, client },
      ...details,
      count,
      suppressed: unwritten - 1,
    };
    try {
      options.log.append(JSON.stringify(record));
      written += 1;
      stream.unwritten = 0;
      pending.delete(stream);
    } catch (error) {
      pending.add(stream);
      if (options.monotonicS() < quietUntilS) return;
      quietUntilS = options.monotonicS() + ERROR_PAUSE_S;
      options.onError(error);
    }
  };
  return {
    note: (denial, count = 1) => {
      const nowS = options.monotonicS();
      const stream = streamOf(denial, nowS);
      stream.describe = denial.describe;
      stream.lastMs = denial.atMs ?? options.nowMs();
      add(stream, count);
      // The kernel counts only what it refuses.
      if (stream.verdict === "deny") lastOf.set(`${denial.plane} ${denial.client}`, stream);
      if (mayWrite(stream, nowS)) write(stream);
      else pending.add(stream);
    },
    noteUntold: (plane, client, count) => {
      const stream = lastOf.get(`${plane} ${client}`);
      if (stream === undefined) {
        unattributed += count;
        return null;
      }
      add(stream, count);
      pending.add(stream);
      return stream.reason;
    },
    flush: () => {
      const nowS = options.monotonicS();
      for (const stream of pending) if (mayWrite(stream, nowS)) write(stream);
    },
    totals: () => ({
      denied: sortedPlanes(counts.deny),
      audited: sortedPlanes(counts["would-deny"]),
      written,
      unattributed,
    }),
  };
}

function fill(bucket: Bucket, burst: number, perS: number, nowS: number): void {
  bucket.tokens = Math.min(burst, bucket.tokens + (nowS - bucket.filledS) * perS);
  bucket.filledS = nowS;
}

type PlaneCounts = ReadonlyMap<Plane, Map<Reason, number>>;

function countsOf(planes: readonly Plane[], earlier: PlaneTotals | undefined): PlaneCounts {
  return new Map(
    planes.map((plane) => [plane, new Map(Object.entries(earlier?.[plane] ?? {}) as readonly [Reason, number][])]),
  );
}

function sortedPlanes(of: PlaneCounts): PlaneTotals {
  return Object.fromEntries([...of].map(([plane, counts]) => [plane, sorted(counts)]));
}

function sorted(counts: ReadonlyMap<Reason, number>): { readonly [reason: string]: number } {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}
