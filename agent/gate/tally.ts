import { type DecisionKey, type KeyValues, keyValues } from "../decisions/decision.ts";

/**
 * Counts every decision by what it was about, second by second, until the counts are fetched. Nothing is written to a
 * disk here, and nothing waits: what is counted costs a look into a map.
 */
export interface Tally {
  /**
   * Counts decisions that have `id` in common; `describe` is asked once for each in a second. Where there is no room to
   * tell more of them apart, they are counted by client and reason.
   */
  add(id: string, amount: Amount, describe: () => DecisionKey): void;
  /** Returns what was counted since the batch that is acknowledged; the same batch again until it is. */
  take(ack: string | null): TallyBatch;
  /** Returns what is not acknowledged, for the next gate. */
  save(): string;
}

export interface Amount {
  readonly count: number;
  readonly bytesUp?: number;
  readonly bytesDown?: number;
}

/** Counts of whole seconds, as they travel: `[atS, count, ...values of the key]`. */
export interface TallyBatch {
  /** Acknowledge it by this. */
  readonly id: string;
  readonly rows: readonly TallyRow[];
  /** True when there is more to take at once. */
  readonly more: boolean;
}

export type TallyRow = readonly [atS: number, count: number, key: KeyValues, bytesUp: number, bytesDown: number];

interface Entry {
  readonly atS: number;
  count: number;
  bytesUp: number;
  bytesDown: number;
  readonly key: DecisionKey;
}

/** Ids that are told apart until they are fetched; each holds some hundred bytes. */
const MAX_ENTRIES = 50_000;
/** A batch is turned into text at once, which holds up answers for a few milliseconds. */
const MAX_BATCH_ROWS = 4_096;

/** Returns a tally that begins with what an earlier gate saved; text that is damaged begins with nothing. */
export function createTally(options: {
  /** Of this gate, so that batches of another one are not taken for its own. */
  readonly epoch: string;
  readonly nowMs: () => number;
  readonly saved?: string;
}): Tally {
  let entries = new Map<string, Entry>();
  let second = 0;
  let sequence = 0;
  let { sent, waiting } = parseSaved(options.saved ?? "");

  const entryOf = (id: string, describe: () => DecisionKey): Entry => {
    const known = entries.get(id);
    if (known !== undefined) return known;
    const key = describe();
    if (entries.size + waiting.length < MAX_ENTRIES) return insert(id, key);
    const coarse: DecisionKey = { ...nothingKnown, plane: key.plane, verdict: key.verdict, reason: key.reason };
    const coarseId = `\0${key.plane} ${key.verdict} ${key.reason}`;
    const ofClient = `${coarseId} ${key.client}`;
    // Twice as many are clients told apart by reason; beyond, only reasons are.
    if (entries.size + waiting.length < 2 * MAX_ENTRIES) {
      return entries.get(ofClient) ?? insert(ofClient, { ...coarse, client: key.client, host: key.host });
    }
    return entries.get(coarseId) ?? insert(coarseId, coarse);
  };
  const insert = (id: string, key: DecisionKey): Entry => {
    const entry = { atS: second, count: 0, bytesUp: 0, bytesDown: 0, key };
    entries.set(id, entry);
    return entry;
  };
  /** What a second counted is closed when the next one begins. */
  const close = (): void => {
    for (const { atS, count, key, bytesUp, bytesDown } of entries.values()) {
      waiting.push([atS, count, keyValues(key), bytesUp, bytesDown]);
    }
    entries = new Map();
    if (waiting.length > 3 * MAX_ENTRIES) waiting = compact(waiting);
  };
  const atSecond = (nowS: number): void => {
    if (nowS === second) return;
    close();
    second = nowS;
  };
  return {
    add: (id, { count, bytesUp = 0, bytesDown = 0 }, describe) => {
      atSecond(Math.floor(options.nowMs() / 1000));
      const entry = entryOf(id, describe);
      entry.count += count;
      entry.bytesUp += bytesUp;
      entry.bytesDown += bytesDown;
    },
    take: (ack) => {
      if (sent !== null && sent.rows.length > 0 && sent.id !== ack) {
        return { ...sent, more: waiting.length + entries.size > 0 };
      }
      close();
      const rows = waiting.slice(0, MAX_BATCH_ROWS);
      waiting = waiting.slice(MAX_BATCH_ROWS);
      sequence += 1;
      sent = { id: `${options.epoch}/${sequence}`, rows, more: waiting.length > 0 };
      return sent;
    },
    save: () => {
      close();
      return JSON.stringify({ sent, waiting });
    },
  };
}

const nothingKnown = {
  ...{ client: null, host: null, name: null, type: null, destination: null },
  ...{ port: null, protocol: null, label: null, rule: null },
};

/** Nobody fetched for long: the sums stay exact, by the hour and reason. */
function compact(rows: readonly TallyRow[]): TallyRow[] {
  const sums = new Map<string, TallyRow>();
  for (const [atS, count, [plane, verdict, reason], bytesUp, bytesDown] of rows) {
    const hourS = atS - (atS % 3600);
    const id = `${hourS} ${plane} ${verdict} ${reason}`;
    const key = keyValues({ ...nothingKnown, plane, verdict, reason } as DecisionKey);
    const [, before, , up, down] = sums.get(id) ?? [hourS, 0, key, 0, 0];
    sums.set(id, [hourS, before + count, key, up + bytesUp, down + bytesDown]);
  }
  return [...sums.values()];
}

interface Saved {
  sent: TallyBatch | null;
  waiting: TallyRow[];
}

/** What this program saved itself: the shape of a row is judged by whoever fetches it. */
function parseSaved(text: string): Saved {
  try {
    const { sent, waiting } = JSON.parse(text) as Partial<Saved>;
    const isBatch = typeof sent?.id === "string" && Array.isArray(sent.rows);
    return { sent: isBatch ? (sent ?? null) : null, waiting: Array.isArray(waiting) ? waiting : [] };
  } catch {
    return { sent: null, waiting: [] };
  }
}
