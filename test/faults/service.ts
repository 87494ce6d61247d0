import type { Service } from "./load.ts";
import type { Notice } from "./strikes.ts";

/**
 * How long allowed attempts may fail, in milliseconds. The gate lets clients wait for ten seconds at most; what answers or carries
 * them, and was killed, is back once an agent is there to start it, which a strike may keep waiting for its own length.
 */
export const bounds = { nothing: 0, hold: 12_000, parts: 30_000 } as const satisfies { [Kind in Notice]: number };

/** Returns a line for each allowed attempt that failed where none may, and for a gap that was longer than it may be. */
export function judgeService(notice: Notice, { failures, longestGapMs }: Service): readonly string[] {
  if (notice === "nothing") return failures;
  const isTooLong = longestGapMs > bounds[notice];
  return isTooLong ? [`no allowed attempt of a client succeeded for ${Math.round(longestGapMs)} ms`] : [];
}
