import { defineConfig } from "vitest/config";

/**
 * Tests that measure load or throughput: with others beside them they would measure those, since changes of the kernel's
 * rules wait for each other over all gateways of a machine.
 */
const alone = ["bench", "datapath-load", "deny-flood", "limits", "limits-global", "limits-sni", "sni-flood"].map(
  fileOf,
);

/** Tests that count to the last packet, keep to the second, or hold a flow over a change: a core each. */
const pairs = ["faults", "hours", "metrics", "policy-language", "revocations", "telemetry"].map(fileOf);

/** The long ones, each alone as well: `npm run long`, and no part of every run. */
const long = ["applies", "disk-full", "half-applied", "systemd"].map(fileOf);

function fileOf(name: string): string {
  return `test/e2e/${name}.test.ts`;
}

/** Those that set the machine's clock: `npm run kernel`, in a machine whose clock is nobody's. */
const kernel = ["test/kernel/*.test.ts"];

/** As what tests wait for: @see PATIENCE in test/support/eventually.ts. */
const patience = Number(process.env["TEST_PATIENCE"] ?? 1);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          sequence: { groupOrder: 0 },
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
          sequence: { groupOrder: 1 },
          include: ["test/e2e/**/*.test.ts"],
          exclude: [...alone, ...pairs, ...long],
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          // Each file has a lab of its own, and most of its time is waiting.
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: "pairs",
          sequence: { groupOrder: 2 },
          include: pairs,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "alone",
          sequence: { groupOrder: 3 },
          include: alone,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "long",
          sequence: { groupOrder: 4 },
          include: long,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "kernel",
          sequence: { groupOrder: 5 },
          include: kernel,
          testTimeout: 120_000 * patience,
          hookTimeout: 60_000 * patience,
          fileParallelism: false,
        },
      },
    ],
  },
});
