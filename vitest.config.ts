import { defineConfig } from "vitest/config";

/** Tests that measure time or load, or count to the last packet: with others beside them they would measure those. */
const alone = [
  ...["bench", "datapath-load", "deny-flood", "faults", "hours", "limits", "limits-sni", "sni-flood", "telemetry"],
].map((name) => `test/e2e/${name}.test.ts`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/{unit,golden,property,contract,assumptions}/**/*.test.ts"],
          testTimeout: 30_000,
          // Of two cores one would be left idle otherwise.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          exclude: alone,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          // Each file has a lab of its own, and most of its time is waiting.
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: "alone",
          include: alone,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
