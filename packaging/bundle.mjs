// Builds dist/: one file a program, and chunks that are loaded when a verb needs them, so that `status` and the gate do not
// pay for Git. koffi stays outside: it carries a native library; openpgp, because it may be missing.
import { renameSync, rmSync } from "node:fs";
import { build } from "esbuild";

const banner = {
  js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
};

// Built beside and swapped in, so that a program that starts meanwhile finds all of its chunks.
const fresh = `dist.${process.pid}`;
const options = {
  outdir: fresh,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  banner,
  external: ["koffi", "openpgp"],
  sourcemap: "linked",
  sourcesContent: false,
  legalComments: "linked",
  logLevel: "warning",
};
// The revert timer is one file with all that it needs: it starts while an apply is staged, and outlives an update of dist/.
await build({ ...options, entryPoints: { "revert-timer": "agent/apply/revert-timer.ts" } });
await build({
  ...options,
  entryPoints: {
    clawgress: "agent/cli.ts",
    "client-probe": "agent/health/client-probe.ts",
    lab: "test/lab/main.ts",
    demo: "test/demo/main.ts",
    bench: "test/bench/main.ts",
    faults: "test/faults/main.ts",
    battery: "test/battery/main.ts",
    differential: "test/differential/main.ts",
    original: "test/original/main.ts",
    "faulty-agent": "test/faults/agent.ts",
  },
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
});
rmSync("dist", { recursive: true, force: true });
renameSync(fresh, "dist");
