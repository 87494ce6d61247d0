import { type DecisionKey, type DecisionVerdict, verdicts } from "./decision.ts";
import type { DecisionStore } from "./store.ts";

/** What the decisions of one key add up to. */
export interface DecisionSum {
  readonly key: DecisionKey;
  readonly count: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Seconds since the epoch. */
  readonly firstS: number;
  readonly lastS: number;
}

/**
 * Returns the sum of each key over the rows from `fromS` to `toS`, both included. One walk through the columns: a million
 * rows take some ten milliseconds.
 */
export function sumDecisions(
  store: Pick<DecisionStore, "segments" | "keys">,
  fromS: number,
  toS: number,
): DecisionSum[] {
  const { limit } = store.keys;
  const count = new Float64Array(limit);
  const up = new Float64Array(limit);
  const down = new Float64Array(limit);
  const first = new Uint32Array(limit);
  const last = new Uint32Array(limit);
  for (const segment of store.segments) {
    if (segment.newestS < fromS) continue;
    for (let at = 0; at < segment.length; at++) {
      const atS = segment.atS[at] as number;
      if (atS < fromS || atS > toS) continue;
      const id = segment.keyId[at] as number;
      count[id] = (count[id] as number) + (segment.count[at] as number);
      up[id] = (up[id] as number) + (segment.bytesUp[at] as number);
      down[id] = (down[id] as number) + (segment.bytesDown[at] as number);
      if (first[id] === 0 || atS < (first[id] as number)) first[id] = atS;
      if (atS > (last[id] as number)) last[id] = atS;
    }
  }
  const sums: DecisionSum[] = [];
  for (let id = 0; id < limit; id++) {
    const lastS = last[id] as number;
    if (lastS === 0) continue;
    sums.push({
      key: store.keys.key(id),
      count: count[id] as number,
      bytesUp: up[id] as number,
      bytesDown: down[id] as number,
      firstS: first[id] as number,
      lastS,
    });
  }
  return sums;
}

/** Decisions of one slice of time. */
export interface TimeSlice {
  readonly fromS: number;
  readonly allowed: number;
  readonly denied: number;
  readonly wouldDeny: number;
}

/** Returns how many decisions fell into each of `slices` equal parts of the time from `fromS` to `toS`. */
export function sliceDecisions(
  store: Pick<DecisionStore, "segments" | "keys">,
  fromS: number,
  toS: number,
  slices: number,
): readonly TimeSlice[] {
  const widthS = Math.max(1, Math.ceil((toS - fromS + 1) / slices));
  const columnOf = columnsOfKeys(store);
  const sums = new Float64Array(verdicts.length * slices);
  for (const segment of store.segments) {
    if (segment.newestS < fromS) continue;
    for (let at = 0; at < segment.length; at++) {
      const atS = segment.atS[at] as number;
      if (atS < fromS || atS > toS) continue;
      const column = columnOf[segment.keyId[at] as number] as number;
      const cell = column * slices + Math.floor((atS - fromS) / widthS);
      sums[cell] = (sums[cell] as number) + (segment.count[at] as number);
    }
  }
  const used = Math.min(slices, Math.ceil((toS - fromS + 1) / widthS));
  const sumOf = (verdict: DecisionVerdict, slice: number): number =>
    sums[verdicts.indexOf(verdict) * slices + slice] as number;
  return Array.from({ length: used }, (_value, slice) => ({
    fromS: fromS + slice * widthS,
    allowed: sumOf("allow", slice),
    denied: sumOf("deny", slice),
    wouldDeny: sumOf("would-deny", slice),
  }));
}

/** The number of each key's verdict, so that a walk through the rows looks at no object. */
function columnsOfKeys({ segments, keys }: Pick<DecisionStore, "segments" | "keys">): Uint8Array {
  const columns = new Uint8Array(keys.limit).fill(UNKNOWN);
  for (const segment of segments) {
    for (let at = 0; at < segment.length; at++) {
      const id = segment.keyId[at] as number;
      if (columns[id] === UNKNOWN) columns[id] = verdicts.indexOf(keys.key(id).verdict);
    }
  }
  return columns;
}

const UNKNOWN = 255;
