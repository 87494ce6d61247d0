import type { DecisionRow } from "./decision.ts";

/** The decisions of late, for who looks on. */
export interface Watchers {
  note(rows: readonly DecisionRow[]): void;
  /** Returns the rows after a position, the oldest first; `null` begins with what comes from now on. */
  since(position: number | null): WatchedRows;
}

export interface WatchedRows {
  /** Ask from here the next time. */
  readonly position: number;
  readonly rows: readonly DecisionRow[];
  /** Rows that were gone before they were asked for. */
  readonly missed: number;
}

const KEPT_ROWS = 20_000;

/** Returns the latest rows in memory. */
export function createWatchers(): Watchers {
  const kept: DecisionRow[] = [];
  let position = 0;
  return {
    note: (rows) => {
      for (const row of rows) {
        kept[position % KEPT_ROWS] = row;
        position += 1;
      }
    },
    since: (from) => {
      const start = from === null || from > position ? position : from;
      const first = Math.max(start, position - KEPT_ROWS);
      const rows: DecisionRow[] = [];
      for (let at = first; at < position; at++) {
        const row = kept[at % KEPT_ROWS];
        if (row !== undefined) rows.push(row);
      }
      return { position, rows, missed: first - start };
    },
  };
}
