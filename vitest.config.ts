import { defineConfig } from "vitest/config";

/**
 * Tests that measure time or load, count to the last packet, or hold a flow over a change: with others beside them they
 * would measure those, since changes of the kernel's rules wait for each other over all gateways of a machine.
 */
const alone = [
  "bench",
  "datapath-load",
  "deny-flood",
  "faults",
  "hours",
  "limits",
  "limits-sni",
  "metrics",
  "policy-language",
  "sni-flood",
  "telemetry",
].map(fileOf);

/** The long ones, each alone as well: `npm run long`, and no part of every run. */
const long = ["applies", "disk-full", "half-applied", "systemd"].map(fileOf);

function fileOf(name: string): string {
  return `test/e2e/${name}.test.ts`;
}

/** As what tests wait for: @see PATIENCE in test/support/eventually.ts. */
const patience = Number(process.env["TEST_PATIENCE"] ?? 1);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/{unit,golden,property,contract,assumptions}/**/*.test.ts"],
          setupFiles: ["test/support/clear-temporary.ts"],
          testTimeout: 30_000,
          // Of two cores one would be left idle otherwise.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          exclude: [...alone, ...long],
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          // Each file has a lab of its own, and most of its time is waiting.
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: "alone",
          include: alone,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "long",
          include: long,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          fileParallelism: false,
        },
      },
    ],
  },
});
