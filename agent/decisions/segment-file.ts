import { type DecisionKey, type DecisionRow, type KeyValues, keyValues, parseKeyValues } from "./decision.ts";
import type { TrafficBaseline } from "./traffic-baseline.ts";

/** Whose tally → its last batch. */
export type TallyMarks = { readonly [source in TallySource]: string | null };
export const tallySources = ["gate", "proxy"] as const;
export type TallySource = (typeof tallySources)[number];

/** What goes with rows, so that after a crash nothing is counted twice or left out. */
export interface StoreMarks {
  /** The last batch of each tally that is stored. */
  readonly tally: TallyMarks;
  /** The last reading of the kernel's traffic counters that is stored. */
  readonly traffic: TrafficBaseline;
}

/** One line of a segment's file. Its keys have numbers of their own, so that each file can be read alone. */
export interface SegmentLine {
  /** When it was written, seconds since the epoch. */
  readonly at: number;
  readonly keys: readonly (readonly [number: number, key: KeyValues])[];
  readonly rows: readonly (readonly [atS: number, key: number, count: number, bytesUp?: number, bytesDown?: number])[];
  readonly tally: TallyMarks;
  /** Traffic counters that have changed; `all` when it is every one that there is. */
  readonly traffic: {
    readonly epoch: string;
    readonly all: boolean;
    readonly counts: readonly (readonly [id: string, connections: number, bytesUp: number, bytesDown: number])[];
  } | null;
}

/** A row whose key has a number in the key table. */
export interface NumberedRow extends Omit<DecisionRow, "key"> {
  readonly keyId: number;
}

/** Numbers the keys of one file in the order in which they come. */
export interface LineWriter {
  /** Returns the line for rows, without its line feed. */
  write(rows: readonly NumberedRow[], marks: StoreMarks, changed: TrafficBaseline | null, nowS: number): string;
}

/** Returns a writer for a new file; its first line holds every traffic counter. */
export function createLineWriter(keyOf: (id: number) => DecisionKey): LineWriter {
  const numbers = new Map<number, number>();
  let isFirst = true;
  return {
    write: (rows, marks, changed, nowS) => {
      const keys: [number, KeyValues][] = [];
      const numberOf = (id: number): number => {
        const known = numbers.get(id);
        if (known !== undefined) return known;
        const number = numbers.size;
        numbers.set(id, number);
        keys.push([number, keyValues(keyOf(id))]);
        return number;
      };
      const lines = rows.map(({ atS, keyId, count, bytesUp, bytesDown }) => {
        const start = [atS, numberOf(keyId), count] as const;
        return bytesUp === 0 && bytesDown === 0 ? start : ([...start, bytesUp, bytesDown] as const);
      });
      const told = isFirst ? marks.traffic : changed;
      const counts = [...(told?.counts ?? [])].map(
        ([id, { connections, bytesUp, bytesDown }]) => [id, connections, bytesUp, bytesDown] as const,
      );
      const traffic = told === null ? null : { epoch: told.epoch, all: isFirst, counts };
      isFirst = false;
      const line: SegmentLine = { at: nowS, keys, rows: lines, tally: marks.tally, traffic };
      return JSON.stringify(line);
    },
  };
}

/** Reads the lines of one file in their order. */
export interface LineReader {
  /** Returns a line with the rows that can be read, or null when it is damaged. */
  read(text: string): { readonly rows: readonly NumberedRow[]; readonly line: SegmentLine } | null;
}

/** Returns a reader for one file; `numberKey` gives a key its number in the key table, and is asked once for each. */
export function createLineReader(numberKey: (key: DecisionKey) => number): LineReader {
  const ids = new Map<number, number>();
  return {
    read: (text) => {
      try {
        const line = JSON.parse(text) as SegmentLine;
        for (const [number, values] of line.keys) {
          const key = parseKeyValues(values);
          if (key !== null) ids.set(number, numberKey(key));
        }
        const rows = line.rows.flatMap(([atS, number, count, bytesUp = 0, bytesDown = 0]) => {
          const keyId = ids.get(number);
          return keyId === undefined ? [] : [{ atS, keyId, count, bytesUp, bytesDown }];
        });
        return { rows, line };
      } catch {
        // The last line of a crash, or a bad sector: the others stand for themselves.
        return null;
      }
    },
  };
}
