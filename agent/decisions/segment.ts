import type { NumberedRow } from "./segment-file.ts";

/** A block of rows in columns: a window over a million of them is a walk through four arrays. */
export interface Segment {
  readonly number: number;
  readonly atS: Uint32Array;
  readonly keyId: Uint32Array;
  readonly count: Uint32Array;
  readonly bytesUp: Float64Array;
  readonly bytesDown: Float64Array;
  length: number;
  /** Of its file. */
  bytes: number;
  readonly startedS: number;
  newestS: number;
}

/** Returns a segment with room for `capacity` rows. */
export function createSegment(number: number, capacity: number, startedS: number): Segment {
  return {
    number,
    atS: new Uint32Array(capacity),
    keyId: new Uint32Array(capacity),
    count: new Uint32Array(capacity),
    bytesUp: new Float64Array(capacity),
    bytesDown: new Float64Array(capacity),
    length: 0,
    bytes: 0,
    startedS,
    newestS: 0,
  };
}

/** Adds a row; the caller makes sure that there is room. */
export function addRow(segment: Segment, row: NumberedRow): void {
  const at = segment.length;
  segment.atS[at] = row.atS;
  segment.keyId[at] = row.keyId;
  segment.count[at] = row.count;
  segment.bytesUp[at] = row.bytesUp;
  segment.bytesDown[at] = row.bytesDown;
  segment.length += 1;
  segment.newestS = Math.max(segment.newestS, row.atS);
}

/** Returns key → uses in a segment. */
export function usesOf(segment: Segment): ReadonlyMap<number, number> {
  const uses = new Map<number, number>();
  for (let at = 0; at < segment.length; at++) {
    const id = segment.keyId[at] ?? 0;
    uses.set(id, (uses.get(id) ?? 0) + 1);
  }
  return uses;
}
