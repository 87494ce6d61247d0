import type { KernelCounters, TrafficCounter } from "../control/agent-calls.ts";
import type { TallyBatch } from "../gate/tally.ts";
import { type DecisionRow, parseKeyValues } from "./decision.ts";
import { type TallySource, tallySources } from "./segment-file.ts";
import type { DecisionStore } from "./store.ts";
import { type TrafficBaseline, trafficSince } from "./traffic-baseline.ts";

/** Brings what the gate and the kernel have counted into the store. */
export interface Recorder {
  /** Takes what the tallies hold. @throws AgentError when the agent or the gate does not answer */
  takeTallies(): Promise<void>;
  /** Takes what the kernel has counted. @throws AgentError when the agent does not answer */
  takeTraffic(): Promise<void>;
}

export interface RecorderOptions {
  readonly store: DecisionStore;
  readonly readTally: (source: TallySource, ack: string | null) => Promise<TallyBatch>;
  readonly readCounters: () => Promise<KernelCounters>;
  readonly nowS: () => number;
  /** Told of new rows once they are stored. */
  readonly onRows: (rows: readonly DecisionRow[]) => void;
}

/** Returns a recorder; each batch is stored with its identifier in one write, so that none is counted twice or left out. */
export function createRecorder(options: RecorderOptions): Recorder {
  const { store } = options;
  const takeTally = async (source: TallySource): Promise<void> => {
    for (;;) {
      const batch = await options.readTally(source, store.marks.tally[source]);
      const tally = { ...store.marks.tally, [source]: batch.id };
      // Nothing is written for an empty batch, so it is not acknowledged either.
      if (batch.rows.length > 0) add(batch.rows.flatMap(toRow), { ...store.marks, tally });
      if (!batch.more) return;
    }
  };
  const takeTraffic = async (): Promise<void> => {
    const counters = await options.readCounters();
    const next = baselineOf(counters);
    const grown = trafficSince(store.marks.traffic, next);
    const atS = options.nowS();
    const rows = counters.traffic.flatMap((counter) => {
      const change = grown.get(idOf(counter));
      return change === undefined ? [] : [trafficRow(counter, change, atS)];
    });
    if (rows.length > 0 || next.epoch !== store.marks.traffic.epoch) add(rows, { ...store.marks, traffic: next });
  };
  const add = (rows: readonly DecisionRow[], marks: DecisionStore["marks"]): void => {
    store.append(rows, marks);
    if (rows.length > 0) options.onRows(rows);
  };
  return {
    takeTallies: shared(async () => {
      const results = await Promise.allSettled(tallySources.map(takeTally));
      for (const result of results) if (result.status === "rejected") throw result.reason;
    }),
    takeTraffic: shared(takeTraffic),
  };
}

/** Returns work that is done once at a time: who asks while it is under way asks for what comes after. */
function shared(work: () => Promise<void>): () => Promise<void> {
  let underWay: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  const begin = (): Promise<void> => {
    next = null;
    underWay = work().finally(() => {
      underWay = null;
    });
    return underWay;
  };
  return () => {
    if (underWay === null) return begin();
    next ??= underWay.then(begin, begin);
    return next;
  };
}

/** The gate is another user's process: what it hands over is judged. */
function toRow([atS, count, values, bytesUp, bytesDown]: TallyBatch["rows"][number]): readonly DecisionRow[] {
  const key = parseKeyValues(values);
  const isSound = [atS, count, bytesUp, bytesDown].every((value) => Number.isSafeInteger(value) && value >= 0);
  return key === null || !isSound ? [] : [{ atS, key, count, bytesUp, bytesDown }];
}

function idOf({ client, grant }: TrafficCounter): string {
  return `${client} ${grant}`;
}

function baselineOf({ epoch, traffic }: KernelCounters): TrafficBaseline {
  const counts = traffic.map((counter) => {
    const { connections, bytesUp, bytesDown } = counter;
    return [idOf(counter), { connections, bytesUp, bytesDown }] as const;
  });
  return { epoch, counts: new Map(counts) };
}

function trafficRow(
  { client, host, name, network, ports, label, rule }: TrafficCounter,
  change: { readonly connections: number; readonly bytesUp: number; readonly bytesDown: number },
  atS: number,
): DecisionRow {
  const [range, protocol] = ports?.split("/") ?? [];
  const port = range !== undefined && /^[0-9]+$/.test(range) ? Number(range) : null;
  return {
    atS,
    key: {
      ...{ plane: "ip", verdict: "allow", reason: "allowed", client, host, name, type: null },
      ...{ destination: network, port, protocol: protocol ?? null, label, rule },
    },
    count: change.connections,
    bytesUp: change.bytesUp,
    bytesDown: change.bytesDown,
  };
}
