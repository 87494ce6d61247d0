import { connect } from "node:net";
import type { DenyRecord } from "../gate/deny-record.ts";
import type { DenyRecords } from "../gate/deny-records.ts";
import type { AppendLog } from "../host/append-log.ts";
import { sleepMs } from "../host/clock.ts";
import type { Decider } from "../policy/decide.ts";
import { reasons } from "../policy/reasons.ts";
import { describeProxyLine } from "./proxy-details.ts";
import { type ProxyLine, parseProxyLine } from "./proxy-line.ts";

/** What the follower works with. */
export interface ProxyRecordsOptions {
  readonly gateway: string;
  readonly socketPath: string;
  /** The proxy's ring that holds the records until they are fetched. */
  readonly ring: string;
  /** Where denials go: it keeps their number and writes so many lines of them as its rate allows. */
  readonly denials: DenyRecords;
  /** Where what was allowed goes. */
  readonly log: Pick<AppendLog, "append">;
  /** The last line that an earlier follower has seen; null: none, or nobody knows. */
  readonly lastId: string | null;
  /** Lines that an earlier follower wrote, so that what the ring still holds of them is not written twice. */
  readonly known: readonly string[];
  /** Returns the decider of a commit's policy, or null when nobody has it any more. */
  readonly deciderOf: (commit: string) => Promise<Decider | null>;
  /** Told of each decision once. */
  readonly onLine: (line: ProxyLine) => void;
  /** Told of each denial that the proxy counts as well. */
  readonly onDenied: (key: string) => void;
  /** Told when a record could not be written; the proxy and its verdicts do not wait for it. */
  readonly onError: (error: unknown) => void;
}

/** Follows the proxy's decisions. */
export interface ProxyRecords {
  /** Resolves when the signal aborts; never rejects. */
  follow(signal: AbortSignal): Promise<void>;
  /** Returns the last line of the ring that was taken, or null. */
  lastId(): string | null;
}

const RETRY_MS = 250;
const MAX_LINE_BYTES = 8 * 1024;
/** The ring's 4 MB hold fewer; what was forgotten here has long been overwritten there. */
const MAX_IDS = 20_000;
const idPattern = /"id":"([0-9a-f-]{36})"/;

/**
 * Returns a follower that takes the proxy's decisions out of its memory as they are made. While nobody follows, or nobody
 * keeps up, the ring overwrites the oldest: the proxy never waits, and its counters of each client know how many there were.
 */
export function openProxyRecords(options: ProxyRecordsOptions): ProxyRecords {
  const seen = createSeen(options.known);
  let last = options.lastId;
  let isResumed = options.lastId === null;
  const take = async (text: string): Promise<void> => {
    const id = idPattern.exec(text)?.[1];
    if (id === undefined || !seen.add(id)) return;
    last = id;
    const line = parseProxyLine(text);
    if (line === null) return;
    options.onLine(line);
    try {
      if (line.verdict === "allow") await writeAllowed(options, line);
      else await noteDenied(options, line);
    } catch (error) {
      options.onError(error);
    }
  };
  return {
    lastId: () => last,
    follow: async (signal) => {
      while (!signal.aborted) {
        if (!isResumed) isResumed = await skipUntil(options, signal, last, seen);
        await readRing(options, signal, `show events ${options.ring} -w`, take);
        await sleepMs(RETRY_MS, signal).catch(() => {
          // Told to stop: the loop's condition ends it.
        });
      }
    },
  };
}

async function noteDenied({ denials, deciderOf, onDenied }: ProxyRecordsOptions, line: ProxyLine): Promise<void> {
  const { plane, reason, client, commit, atMs } = line;
  const decider = commit === null ? null : await deciderOf(commit);
  const target = line.name ?? "";
  denials.note({ plane, reason, client, atMs, target, describe: () => describeProxyLine(line, decider) });
  // No rule sees a request that is none.
  if (reason !== "http-malformed") onDenied(`${plane} ${client}`);
}

async function writeAllowed({ gateway, log, deciderOf }: ProxyRecordsOptions, line: ProxyLine): Promise<void> {
  const { plane, verdict, reason, client, commit, atMs } = line;
  const decider = commit === null ? null : await deciderOf(commit);
  const record: Omit<DenyRecord, "verdict" | "count"> & { readonly verdict: string; readonly count: null } = {
    ts: new Date(atMs).toISOString(),
    schema: 1,
    gateway,
    ...{ plane, verdict, reason, severity: reasons[reason].severity, client },
    ...describeProxyLine(line, decider),
    count: null,
    suppressed: 0,
  };
  log.append(JSON.stringify(record));
}

interface Seen {
  /** Returns false for what was added before. */
  readonly add: (id: string) => boolean;
}

function createSeen(lines: readonly string[]): Seen {
  const ids = new Set<string>();
  const add = (id: string): boolean => {
    if (ids.has(id)) return false;
    const [oldest] = ids.size >= MAX_IDS ? ids : [];
    if (oldest !== undefined) ids.delete(oldest);
    ids.add(id);
    return true;
  };
  for (const line of lines.slice(-MAX_IDS)) {
    const id = idPattern.exec(line)?.[1];
    if (id !== undefined) add(id);
  }
  return { add };
}

/**
 * Marks all lines that the ring holds up to a known one as seen: an earlier follower has counted them, though it did not
 * write them all. Returns whether there was a proxy to ask.
 */
async function skipUntil(
  options: ProxyRecordsOptions,
  signal: AbortSignal,
  lastId: string | null,
  seen: Seen,
): Promise<boolean> {
  const ids: string[] = [];
  const isAnswered = await readRing(options, signal, `show events ${options.ring}`, async (text) => {
    const id = idPattern.exec(text)?.[1];
    if (id !== undefined) ids.push(id);
  });
  for (const id of ids.slice(0, ids.lastIndexOf(lastId ?? "") + 1)) seen.add(id);
  return isAnswered;
}

/** Resolves when the answer is over, the proxy is gone or the signal aborts, with whether there was a proxy; never rejects. */
async function readRing(
  { socketPath }: ProxyRecordsOptions,
  signal: AbortSignal,
  command: string,
  onLine: (line: string) => Promise<void>,
): Promise<boolean> {
  const socket = connect(socketPath, () => socket.write(`${command}\n`));
  const stop = (): void => void socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  socket.setEncoding("utf8");
  let isAnswered = false;
  let rest = "";
  try {
    // One piece after the other: who cannot keep up leaves the rest to the ring, and never holds more than a piece.
    for await (const chunk of socket) {
      isAnswered = true;
      const lines = `${rest}${chunk as string}`.split("\n");
      rest = (lines.pop() ?? "").slice(0, MAX_LINE_BYTES);
      for (const line of lines) if (line.length <= MAX_LINE_BYTES) await onLine(line);
    }
  } catch {
    // No proxy, or no more.
  } finally {
    signal.removeEventListener("abort", stop);
    socket.destroy();
  }
  return isAnswered;
}
