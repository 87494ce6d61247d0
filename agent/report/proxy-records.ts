import { connect, type Socket } from "node:net";
import type { AppendLog } from "../host/append-log.ts";
import { sleepMs } from "../host/clock.ts";

/** What the follower works with. */
export interface ProxyRecordsOptions {
  readonly gateway: string;
  readonly socketPath: string;
  /** The proxy's ring that holds the records until they are fetched. */
  readonly ring: string;
  readonly log: AppendLog;
  /** Records of an earlier follower, so that what the ring still holds of them is not written twice. */
  readonly known: readonly string[];
  /** Told when a record could not be written; the proxy and its verdicts do not wait for it. */
  readonly onError: (error: unknown) => void;
}

const RETRY_MS = 250;
const MAX_LINE_BYTES = 8 * 1024;
/** The ring's 4 MB hold about as many; what was forgotten here has long been overwritten there. */
const MAX_IDS = 20_000;
const idPattern = /"id":"([0-9a-f-]{36})"/;

/**
 * Takes the proxy's decisions out of its memory as they are made and writes them to a log, a JSON object a line, until the
 * signal aborts. While nobody follows, or nobody keeps up, the ring overwrites the oldest: the proxy never waits.
 */
export async function followProxyRecords(options: ProxyRecordsOptions, signal: AbortSignal): Promise<void> {
  const seen = createSeen(options.known);
  while (!signal.aborted) {
    await readRing(options, signal, (line) => {
      const id = idPattern.exec(line)?.[1];
      if (id === undefined || !seen.add(id)) return;
      const record = describeRecord(line, options.gateway);
      try {
        if (record !== null) options.log.append(record);
      } catch (error) {
        options.onError(error);
      }
    });
    await sleepMs(RETRY_MS, signal).catch(() => {
      // Told to stop: the loop's condition ends it.
    });
  }
}

/**
 * Returns a line of the proxy as a record of this gateway, or null when it is none. `-` becomes null; what was allowed
 * but not connected says so.
 */
export function describeRecord(line: string, gateway: string): string | null {
  try {
    const { id, ts, plane, reason, serial, ...rest } = JSON.parse(line) as { readonly [key: string]: unknown };
    const verdict = reason === "allowed" ? "allow" : "deny";
    const why = reason === "-" ? "http-malformed" : reasonOf(reason, rest["connectMs"]);
    const number = typeof serial === "string" && /^[0-9]{1,15}$/.test(serial) ? Number(serial) : null;
    const record = { id, ts, gateway, plane, verdict, reason: why, ...rest, serial: number };
    return JSON.stringify(record, (_key, value: unknown) => (value === "-" || value === "--" ? null : value));
  } catch {
    return null;
  }
}

function reasonOf(reason: unknown, connectMs: unknown): unknown {
  return reason === "allowed" && connectMs === -1 ? "connect-failed" : reason;
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

/** Resolves when the proxy is gone or the signal aborts; never rejects. */
async function readRing(
  { socketPath, ring }: ProxyRecordsOptions,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  await new Promise<void>((resolve) => {
    let rest = "";
    const socket: Socket = connect(socketPath, () => socket.write(`show events ${ring} -w\n`));
    const stop = (): void => void socket.destroy();
    signal.addEventListener("abort", stop, { once: true });
    socket.setEncoding("utf8");
    socket.on("error", () => {
      // No proxy, or no more: the end of the connection tells.
    });
    socket.on("close", () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    socket.on("data", (chunk: string) => {
      const lines = `${rest}${chunk}`.split("\n");
      rest = (lines.pop() ?? "").slice(0, MAX_LINE_BYTES);
      for (const line of lines) if (line.length <= MAX_LINE_BYTES) onLine(line);
    });
  });
}
