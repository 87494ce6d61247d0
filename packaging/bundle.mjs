// Builds dist/: one self-contained file a program. koffi stays outside: it carries a native library.
import { build } from "esbuild";

const banner = {
  js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
};

await build({
  entryPoints: {
    clawgress: "agent/cli.ts",
    "client-probe": "agent/health/client-probe.ts",
    lab: "test/lab/main.ts",
    demo: "test/demo/main.ts",
    bench: "test/bench/main.ts",
  },
  outdir: "dist",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  banner,
  external: ["koffi"],
  sourcemap: "linked",
  sourcesContent: false,
  legalComments: "linked",
  logLevel: "warning",
});
