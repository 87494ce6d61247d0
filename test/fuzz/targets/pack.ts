import { applyDelta, readDeltaSizes } from "../../../agent/source/pack-entry.ts";
import { buildObject, indexPack, nameOf, type PackLimits } from "../../../agent/source/pack-index.ts";
import { buildPack, copyDelta, PACK_TYPES, withTrailer } from "../../support/pack-builder.ts";
import type { FuzzTarget } from "../target.ts";

const limits: PackLimits = {
  maxObjects: 100,
  maxObjectBytes: 100_000,
  maxTotalBytes: 500_000,
  maxDeltaDepth: 10,
  maxWorkBytes: 2_000_000,
};
const { commit, blob, tree, ofsDelta } = PACK_TYPES;

/** Deltas on a base of 300 bytes: what they build is as long as they say. */
export const delta: FuzzTarget = {
  name: "delta",
  seedCorpus: () => [copyDelta(300, 600, 2), Buffer.concat([copyDelta(300, 3, 0), Buffer.of(3, 1, 2, 3)])],
  run: (bytes) => {
    if (readDeltaSizes(bytes).resultBytes > 1_000_000) return "too large, told before it is built";
    const built = applyDelta(Buffer.alloc(300, "a"), bytes);
    if (built.length !== readDeltaSizes(bytes).resultBytes) throw new Error("it builds more or less than it says");
    return "built";
  },
};

/** Packs with the trailer put right, so that what is behind it is reached: every object must build to what it was named by. */
export const pack: FuzzTarget = {
  name: "pack",
  seedCorpus: () => [
    buildPack([]),
    buildPack([{ type: blob, data: Buffer.from("hello") }]),
    buildPack([
      { type: blob, data: Buffer.alloc(300, "a") },
      { type: ofsDelta, base: 0, data: copyDelta(300, 600, 2) },
      { type: ofsDelta, base: 1, data: copyDelta(600, 600, 1) },
      { type: tree, data: Buffer.alloc(0) },
      { type: commit, data: Buffer.from(`tree ${"1".repeat(40)}\nparent ${"2".repeat(40)}\n\n`) },
    ]),
  ],
  run: async (bytes) => {
    const whole = withTrailer(bytes.subarray(0, Math.max(0, bytes.length - 20)));
    const { objects } = await indexPack(whole, limits);
    for (const [oid, object] of objects) {
      const content = buildObject(object, ({ start, end }) => whole.subarray(start, end));
      if (nameOf(object.type, content) !== oid) throw new Error("an object is not what it is named by");
    }
    return `${objects.size} objects`;
  },
};
