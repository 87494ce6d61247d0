// The one gate: format and lint, types, unused code, generated files, build, all tests.
// Prints each step with its time and ends with the line `N passed, N failed`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const scratch = mkdtempSync(join(tmpdir(), "clawgress-verify-"));
let passed = 0;
let failed = 0;

function step(name, argv) {
  console.log(`\n» ${name}`);
  const startedAt = performance.now();
  const { status } = spawnSync(argv[0], argv.slice(1), { stdio: "inherit" });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${status === 0 ? "✔" : "✘"} ${name} (${seconds} s)`);
  return status === 0;
}

function check(name, argv) {
  if (step(name, argv)) passed++;
  else failed++;
}

function tests(project) {
  const report = join(scratch, `${project}.json`);
  const argv = [
    "node_modules/.bin/vitest",
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ];
  const ok = step(`tests: ${project}`, argv);
  try {
    const totals = JSON.parse(readFileSync(report, "utf8"));
    passed += totals.numPassedTests;
    failed += totals.numFailedTests;
    // A file that does not load, or a run that ends early, has no failed test but is a failure all the same.
    if (!ok && totals.numFailedTests === 0) failed++;
    if (totals.numPassedTests + totals.numFailedTests === 0) failed++;
  } catch (error) {
    console.error(`no test report for ${project}: ${error.message}`);
    failed++;
  }
}

check("format and lint", ["node_modules/.bin/biome", "check", "--error-on-warnings", "."]);
check("types", ["node_modules/.bin/tsc", "--noEmit"]);
check("unused code", ["node_modules/.bin/knip"]);
check("generated files are current", ["node", "packaging/generate.mjs", "--check"]);
check("build", ["node", "packaging/bundle.mjs"]);
tests("unit");
tests("e2e");
tests("alone");
rmSync(scratch, { recursive: true, force: true });

console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
