import { describe, expect, test } from "vitest";
import { fuzz } from "../fuzz/fuzz.ts";
import { commit } from "../fuzz/targets/commit.ts";
import { fetchAnswer, refs } from "../fuzz/targets/framing.ts";
import { delta, pack } from "../fuzz/targets/pack.ts";
import { policy } from "../fuzz/targets/policy.ts";
import { tree } from "../fuzz/targets/tree.ts";

/** A short run of each; a campaign: `FUZZ_SECONDS=600 FUZZ_SEED=1 npx vitest run --project unit test/property/fuzz-source.test.ts -t commit`. */
const seconds = Number(process.env["FUZZ_SECONDS"] ?? 0.4);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000);

describe(`seed ${seed}`, () => {
  test.each([commit, tree, pack, delta, fetchAnswer, refs, policy])(
    "$name",
    async (target) => {
      const report = await fuzz(target, { seconds, seed });
      if (process.env["FUZZ_SECONDS"] !== undefined) console.log(target.name, report);
      expect(report.outcomes).toBeGreaterThan(1);
    },
    seconds * 1_000 + 30_000,
  );
});
