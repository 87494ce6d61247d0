/** What a counter of the kernel had counted when it was read. */
export interface TrafficCount {
  readonly connections: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** The counters of a reading. */
export interface TrafficBaseline {
  /** Of the kernel's tables: counters of another epoch began anew. */
  readonly epoch: string;
  readonly counts: ReadonlyMap<string, TrafficCount>;
}

export const noTraffic: TrafficBaseline = { epoch: "", counts: new Map() };

/**
 * Returns what was counted between two readings. What shows less than before began anew in between; each of the three is
 * forgotten by the kernel for itself.
 */
export function trafficSince(before: TrafficBaseline, after: TrafficBaseline): ReadonlyMap<string, TrafficCount> {
  const grown = new Map<string, TrafficCount>();
  for (const [id, now] of after.counts) {
    const then = (before.epoch === after.epoch ? before.counts.get(id) : undefined) ?? nothing;
    const change = {
      connections: growth(then.connections, now.connections),
      bytesUp: growth(then.bytesUp, now.bytesUp),
      bytesDown: growth(then.bytesDown, now.bytesDown),
    };
    if (change.connections + change.bytesUp + change.bytesDown > 0) grown.set(id, change);
  }
  return grown;
}

const nothing: TrafficCount = { connections: 0, bytesUp: 0, bytesDown: 0 };

function growth(then: number, now: number): number {
  return now >= then ? now - then : now;
}
