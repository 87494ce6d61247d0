import type { NamePattern, NameRule } from "../policy/policy.ts";
import { type Cutter, createCutter, isSameButPlace } from "./cut-shards.ts";
import type { ShardFile } from "./name-shards.ts";
import type { ZoneShard } from "./rpz.ts";

/**
 * What was rendered for the last policy, shard by shard, with what it was rendered from: the same input gives the same
 * bytes, so that they need not be made again. It changes how long a compilation takes and never what comes out.
 */
export interface CompileMemory {
  readonly cutter: Cutter;
  readonly zones: Recall<{ readonly pattern: NamePattern }, ZoneShard>;
  readonly names: Recall<NameRule, ShardFile>;
  readonly places: Recall<NameRule, ShardFile>;
}

/** Results of a function of some objects and a text, the last one of each shard. */
interface Recall<Part, Result> {
  /** Returns the last result of a shard when text and parts are the same, else a new one. */
  recall(shard: number, input: Input<Part>, render: () => Result): Result;
}

interface Input<Part> {
  readonly parts: readonly Part[];
  readonly text: string;
  /** Parts of an earlier input that mean the same, when that is known. */
  readonly keptFrom?: readonly Part[] | null;
}

/** Returns a memory of nothing. */
export function createCompileMemory(): CompileMemory {
  return {
    cutter: createCutter(),
    zones: createRecall((a, b) => a.pattern === b.pattern),
    names: createRecall(isSameButPlace),
    places: createRecall((a, b) => a === b),
  };
}

function createRecall<Part, Result>(isSame: (a: Part, b: Part) => boolean): Recall<Part, Result> {
  const known = new Map<number, Input<Part> & { readonly result: Result }>();
  return {
    recall: (shard, { parts, text, keptFrom }, render) => {
      const last = known.get(shard);
      const isKnown = last?.text === text && last.parts.length === parts.length;
      const isSameShare = isKnown && (last.parts === parts || last.parts === keptFrom);
      if (isSameShare || (isKnown && parts.every((part, index) => isSame(part, last.parts[index] as Part)))) {
        // The same list again is told by itself.
        known.set(shard, { parts, text, result: last.result });
        return last.result;
      }
      const result = render();
      known.set(shard, { parts, text, result });
      return result;
    },
  };
}
