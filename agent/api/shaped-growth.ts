import type { ShapedCounter } from "../control/agent-calls.ts";

/** Makes of what the kernel holds what came since: it forgets clients, and begins anew with its tables. */
export interface ShapedGrowth {
  /** Returns what was counted since the last reading (null: there was none); nothing for the first one, which says what was before. */
  take(reading: readonly ShapedCounter[] | null): readonly ShapedCounter[];
}

/** Returns growth that has read nothing yet. */
export function createShapedGrowth(): ShapedGrowth {
  let last: ReadonlyMap<string, ShapedCounter> | null = null;
  return {
    take: (reading) => {
      if (reading === null) return [];
      const before = last;
      last = new Map(reading.map((counter) => [counter.client, counter]));
      if (before === null) return [];
      return reading.flatMap((counter) => {
        const known = before.get(counter.client);
        // Less than before: it was forgotten meanwhile, and counts from zero.
        const isOn = known !== undefined && known.packets <= counter.packets && known.bytes <= counter.bytes;
        const packets = counter.packets - (isOn ? known.packets : 0);
        const bytes = counter.bytes - (isOn ? known.bytes : 0);
        return packets === 0 ? [] : [{ ...counter, packets, bytes }];
      });
    },
  };
}
