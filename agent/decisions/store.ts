import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { openSegmentFolder, openSegmentLog, readSegment, removeSegment, type SegmentLog } from "../host/segment-log.ts";
import type { DecisionSettings } from "../settings/settings.ts";
import type { DecisionKey, DecisionRow } from "./decision.ts";
import { createKeyTable, type KeyTable } from "./key-table.ts";
import { addRow, createSegment, type Segment, usesOf } from "./segment.ts";
import { createLineReader, createLineWriter, type SegmentLine, type StoreMarks } from "./segment-file.ts";
import { noTraffic, type TrafficBaseline } from "./traffic-baseline.ts";

/** The stored decisions: in memory for questions, on disk for the next start. */
export interface DecisionStore {
  /** Stores rows with what they were read from; on disk when it returns, durable after the next `sync`. @throws AgentError HOST_FILE */
  append(rows: readonly DecisionRow[], marks: StoreMarks): void;
  readonly marks: StoreMarks;
  readonly keys: Pick<KeyTable, "key" | "limit">;
  /** The oldest first. */
  readonly segments: readonly Segment[];
  state(): StoreState;
  /** Makes what was appended durable. @throws AgentError HOST_FILE */
  sync(): Promise<void>;
  close(): void;
}

export interface StoreState {
  readonly rows: number;
  readonly keys: number;
  readonly bytes: number;
  /** Seconds since the epoch; what was decided before it is not all there any more. */
  readonly completeSinceS: number;
  /** Lines that could not be read at the start. */
  readonly damagedLines: number;
}

export interface StoreOptions extends DecisionSettings {
  readonly folder: string;
  readonly nowS: () => number;
}

/** So many blocks are the bounds divided into: what is oldest goes a block at a time. */
const BLOCKS = 16;
const MAX_KEYS = 262_144;
/** Room for what is counted without a name when there is none for more names. */
const SPARE_KEYS = 16_384;
const FILE = /^([0-9]{12})\.jsonl$/;

/** Returns the store in a folder, with what an earlier process left there. @throws AgentError HOST_FILE */
export function openDecisionStore(options: StoreOptions): DecisionStore {
  const { folder, nowS } = options;
  const keys = createKeyTable(MAX_KEYS + SPARE_KEYS);
  const capacity = Math.max(1, Math.ceil(options.maxRows / BLOCKS));
  const loaded = loadSegments(folder, keys, capacity);
  const segments: Segment[] = [...loaded.segments];
  let { marks } = loaded;
  let log: SegmentLog | null = null;
  let writer = createLineWriter(keys.key);

  const sumOf = (field: "length" | "bytes"): number => segments.reduce((sum, segment) => sum + segment[field], 0);
  const dropOldest = (): void => {
    const oldest = segments.shift();
    if (oldest === undefined) return;
    for (const [id, uses] of usesOf(oldest)) keys.release(id, uses);
    removeSegment(pathOf(folder, oldest.number));
  };
  const trim = (): void => {
    const oldestS = nowS() - options.maxAgeS;
    while (segments.length > 1) {
      const isOver = sumOf("length") > options.maxRows || sumOf("bytes") > options.maxBytes;
      if (!isOver && (segments[0]?.newestS ?? 0) >= oldestS) return;
      dropOldest();
    }
  };
  const begin = (rows: number): Segment => {
    log?.close();
    const segment = createSegment((segments.at(-1)?.number ?? 0) + 1, Math.max(capacity, rows), nowS());
    log = openSegmentLog(pathOf(folder, segment.number));
    writer = createLineWriter(keys.key);
    segments.push(segment);
    return segment;
  };
  /** A batch is one line, so that it is stored whole or not at all. */
  const segmentFor = (rows: number): Segment => {
    const last = segments.at(-1);
    if (last === undefined || log === null) return begin(rows);
    const isFull = last.length + rows > last.atS.length || last.bytes > options.maxBytes / BLOCKS;
    return isFull || nowS() - last.startedS > options.maxAgeS / BLOCKS ? begin(rows) : last;
  };
  trim();
  return {
    append: (rows, next) => {
      const segment = segmentFor(rows.length);
      const changed = next.traffic === marks.traffic ? null : changedTraffic(marks.traffic, next.traffic);
      const numbered = rows.map(({ key, ...row }) => ({ ...row, keyId: takeKey(keys, key) }));
      segment.bytes += log?.append(writer.write(numbered, next, changed, nowS())) ?? 0;
      for (const row of numbered) addRow(segment, row);
      marks = next;
      trim();
    },
    get marks() {
      return marks;
    },
    keys,
    segments,
    state: () => ({
      ...{ rows: sumOf("length"), keys: keys.size, bytes: sumOf("bytes"), damagedLines: loaded.damagedLines },
      completeSinceS: segments[0]?.startedS ?? nowS(),
    }),
    sync: async () => await log?.sync(),
    close: () => {
      log?.close();
      log = null;
    },
  };
}

function pathOf(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(12, "0")}.jsonl`);
}

/** With too many names to tell apart, what is new is counted without its name; the sums stay exact. */
function takeKey(keys: KeyTable, key: DecisionKey): number {
  const id = keys.take(key, keys.size >= MAX_KEYS);
  if (id !== null) return id;
  const { plane, verdict, reason, client, host } = key;
  const coarse = { ...nothingKnown, plane, verdict, reason };
  const taken =
    keys.take({ ...coarse, client, host }, keys.size >= MAX_KEYS + SPARE_KEYS / 2) ?? keys.take(coarse, false);
  if (taken !== null) return taken;
  throw new AgentError("HOST_FILE", "there is no room for another kind of decision");
}

const nothingKnown = {
  ...{ client: null, host: null, name: null, type: null, destination: null },
  ...{ port: null, protocol: null, label: null, rule: null },
};

interface Loaded {
  readonly segments: readonly Segment[];
  readonly marks: StoreMarks;
  readonly damagedLines: number;
}

function loadSegments(folder: string, keys: KeyTable, capacity: number): Loaded {
  const segments: Segment[] = [];
  let marks: StoreMarks = { tally: { gate: null, proxy: null }, traffic: noTraffic };
  let damagedLines = 0;
  for (const name of openSegmentFolder(folder)) {
    const number = FILE.exec(name)?.[1];
    if (number === undefined) continue;
    const held: number[] = [];
    const reader = createLineReader((key) => {
      const id = takeKey(keys, key);
      held.push(id);
      return id;
    });
    const { lines, bytes } = readSegment(join(folder, name));
    const read = lines.flatMap((line) => reader.read(line) ?? []);
    damagedLines += lines.length - read.length;
    const rows = read.reduce((sum, { rows: part }) => sum + part.length, 0);
    const segment = createSegment(Number(number), Math.max(capacity, rows), read[0]?.line.at ?? 0);
    segment.bytes = bytes;
    for (const part of read) {
      for (const row of part.rows) addRow(segment, row);
      marks = { tally: part.line.tally, traffic: mergeTraffic(marks.traffic, part.line.traffic) };
    }
    for (const [id, uses] of usesOf(segment)) keys.use(id, uses);
    for (const id of held) keys.release(id, 1);
    segments.push(segment);
  }
  return { segments, marks, damagedLines };
}

function mergeTraffic(before: TrafficBaseline, told: SegmentLine["traffic"]): TrafficBaseline {
  if (told === null) return before;
  const isKept = !told.all && told.epoch === before.epoch;
  const counts = new Map(isKept ? before.counts : []);
  for (const [id, connections, bytesUp, bytesDown] of told.counts) counts.set(id, { connections, bytesUp, bytesDown });
  return { epoch: told.epoch, counts };
}

/** A counter that is gone stays in the file until the next one begins: when it comes back, it shows less than it did. */
function changedTraffic(before: TrafficBaseline, after: TrafficBaseline): TrafficBaseline {
  if (before.epoch !== after.epoch) return after;
  const counts = [...after.counts].filter(([id, now]) => {
    const then = before.counts.get(id);
    return then?.connections !== now.connections || then.bytesUp !== now.bytesUp || then.bytesDown !== now.bytesDown;
  });
  return { epoch: after.epoch, counts: new Map(counts) };
}
