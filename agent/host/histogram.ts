/** How often something took how long. */
export interface HistogramCounts {
  /** Upper bounds of the buckets in seconds, ascending. */
  readonly boundsS: readonly number[];
  /** How often it took up to each bound and longer than the one before; the last one has no bound. */
  readonly counts: readonly number[];
  readonly sumS: number;
}

export interface Histogram {
  note(seconds: number): void;
  read(): HistogramCounts;
}

/** From what the gate answers by itself (0.1 ms) to the end of patience of most clients. */
const BOUNDS_S = [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Returns a histogram at zero. */
export function createHistogram(boundsS: readonly number[] = BOUNDS_S): Histogram {
  const counts = new Array<number>(boundsS.length + 1).fill(0);
  let sumS = 0;
  return {
    note: (seconds) => {
      const bucket = boundsS.findIndex((bound) => seconds <= bound);
      const index = bucket === -1 ? boundsS.length : bucket;
      counts[index] = (counts[index] ?? 0) + 1;
      sumS += seconds;
    },
    read: () => ({ boundsS, counts: [...counts], sumS }),
  };
}
