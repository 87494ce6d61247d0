import { type Cutter, createCutter } from "./cut-shards.ts";
import type { ShardFile } from "./name-shards.ts";
import type { ZoneShard } from "./rpz.ts";
import type { PlacesPart } from "./shard-places.ts";

/**
 * What was rendered for the last policy, shard by shard, with what it was rendered from: the same input gives the same
 * bytes, so that they need not be made again. It changes how long a compilation takes and never what comes out.
 */
export interface CompileMemory {
  readonly cutter: Cutter;
  readonly zones: Recall<ZoneShard>;
  readonly names: Recall<ShardFile>;
  readonly places: Recall<PlacesPart>;
}

/** Results of a function, the last one of each shard. */
interface Recall<Result> {
  /** Returns the last result of a shard when it was made of the same parts, each a text or the very same object; else a new one. */
  recall(shard: number, parts: readonly (object | string | undefined)[], render: () => Result): Result;
}

/** Returns a memory of nothing. */
export function createCompileMemory(): CompileMemory {
  return { cutter: createCutter(), zones: createRecall(), names: createRecall(), places: createRecall() };
}

function createRecall<Result>(): Recall<Result> {
  const known = new Map<number, { readonly parts: readonly unknown[]; readonly result: Result }>();
  return {
    recall: (shard, parts, render) => {
      const last = known.get(shard);
      const isSame = last?.parts.length === parts.length && parts.every((part, at) => part === last.parts[at]);
      if (last !== undefined && isSame) return last.result;
      const result = render();
      known.set(shard, { parts, result });
      return result;
    },
  };
}
