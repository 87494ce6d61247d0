import { describe, expect, test } from "vitest";
import { fuzz } from "../fuzz/fuzz.ts";
import { trustTargets } from "../fuzz/targets/trust.ts";

/** A short run of each; a campaign of ten minutes each is `npm run fuzz`, of one of them `npm run fuzz -- -t lock`. */
const seconds = Number(process.env["FUZZ_SECONDS"] ?? 0.4);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000);

describe(`seed ${seed}`, () => {
  test.each([...trustTargets])(
    "$name",
    async (target) => {
      const report = await fuzz(target, { seconds, seed });
      if (process.env["FUZZ_SECONDS"] !== undefined) console.log(target.name, report);
      expect(report.outcomes).toBeGreaterThan(1);
    },
    seconds * 1_000 + 30_000,
  );
});
