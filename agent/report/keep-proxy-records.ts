import type { Logger } from "pino";
import { readProxyRefused } from "../apply/proxy-control.ts";
import { RECORD_RING } from "../compile/haproxy.ts";
import { ABOUT_MAP } from "../compile/proxy-maps.ts";
import { CLIENT_TABLE, CLOSED_TABLE } from "../compile/proxy-shares.ts";
import { createDenyRecords, type DenyRecords } from "../gate/deny-records.ts";
import type { Tally } from "../gate/tally.ts";
import { createUntoldPackets } from "../gate/untold-packets.ts";
import { openAppendLog } from "../host/append-log.ts";
import { monotonicMs, nowMs, sleepMs } from "../host/clock.ts";
import { readFileIfAny } from "../host/files.ts";
import type { Plane } from "../policy/reasons.ts";
import type { Paths } from "../settings/paths.ts";
import { type Activity, noteProxyLine } from "./agent-memory.ts";
import { countProxyDenial, countProxyRecord, countProxyRest } from "./count-proxy.ts";
import { closedDenial, createClosedWatch } from "./proxy-closed.ts";
import { createProxyJudge } from "./proxy-judge.ts";
import { openProxyRecords } from "./proxy-records.ts";
import { readProxyTotals, writeProxyTotals } from "./proxy-totals.ts";

export interface KeepProxyRecordsOptions {
  readonly gateway: string;
  readonly paths: Paths;
  readonly log: Logger;
  /** Counts every decision, whatever the lines leave out. */
  readonly tally: Pick<Tally, "add">;
  readonly activity: Activity;
}

const MAX_RECORD_BYTES = 8 * 1024 * 1024;
const FLUSH_MS = 1_000;
const REST_MS = 60_000;

/**
 * Writes what the proxy of SNI mode decides to a file of bounded size until the signal aborts, and counts what it denies;
 * the totals go on where an earlier agent had left them. Never rejects for what cannot be read or written.
 */
export async function keepProxyRecords(options: KeepProxyRecordsOptions, signal: AbortSignal): Promise<void> {
  const { gateway, paths, log, tally, activity } = options;
  const { proxyRecords: path, proxyTotals, proxySocket: socketPath } = paths;
  const onError = (error: unknown): void => log.warn({ event: "proxy-record-lost", reason: (error as Error).message });
  try {
    const files = await Promise.all([`${path}.1`, path].map((file) => readFileIfAny(file, 2 * MAX_RECORD_BYTES)));
    const earlier = await readProxyTotals(proxyTotals);
    const records = openAppendLog(path, { mode: 0o640, maxBytes: MAX_RECORD_BYTES });
    const denials = createDenyRecords({
      ...{ gateway, planes: ["tls", "http"], log: records, nowMs, onError },
      monotonicS: () => monotonicMs() / 1_000,
      ...(earlier === null ? {} : { earlier }),
    });
    const readRefused = () => readProxyRefused(socketPath, CLIENT_TABLE);
    const untold = createUntoldPackets((key, count) => {
      const [plane = "", client = ""] = key.split(" ");
      const reason = denials.noteUntold(plane as Plane, client, count);
      countProxyRest(tally, plane as Plane, client, reason, count);
    });
    const counted: DenyRecords = {
      ...denials,
      note: (denial, count = 1) => {
        denials.note(denial, count);
        countProxyDenial(tally, denial, count);
      },
    };
    const passed = {
      append: (line: string) => {
        countProxyRecord(tally, line);
        records.append(line);
      },
    };
    const judge = createProxyJudge(paths.releases, `${paths.proxy}/${ABOUT_MAP}`);
    const readClosed = () => readProxyRefused(socketPath, CLOSED_TABLE);
    const lookAtClosed = createClosedWatch(readClosed, async (plane, client, count) =>
      counted.note(closedDenial(plane, client, await judge.current()), count),
    );
    const follower = openProxyRecords({
      ...{ gateway, socketPath, ring: RECORD_RING, denials: counted, log: passed, onError },
      lastId: earlier?.lastId ?? null,
      known: files.flatMap((bytes) => bytes?.toString("utf8").split("\n") ?? []),
      deciderOf: judge.deciderOf,
      onLine: (line) => noteProxyLine(activity, line),
      onDenied: untold.told,
    });
    const since = earlier?.since ?? new Date(nowMs()).toISOString();
    let written = "";
    const flush = async (): Promise<void> => {
      denials.flush();
      const totals = { since, ...denials.totals(), lastId: follower.lastId() };
      if (JSON.stringify(totals) === written) return;
      await writeProxyTotals(proxyTotals, totals);
      written = JSON.stringify(totals);
    };
    await Promise.all([
      follower.follow(signal),
      everySome(signal, FLUSH_MS, async () => {
        // A proxy that is gone has nothing to compare with.
        if (untold.isDue()) await readRefused().then(untold.compare, () => {});
        await lookAtClosed().catch(onError);
        await flush().catch(onError);
      }),
      everySome(signal, REST_MS, async () => judge.rest()),
    ]);
    await flush().catch(onError);
    records.close();
  } catch (error) {
    onError(error);
  }
}

async function everySome(signal: AbortSignal, ms: number, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await sleepMs(ms, signal).catch(() => {
      // Told to stop: the loop's condition ends it.
    });
    if (!signal.aborted) await work();
  }
}
