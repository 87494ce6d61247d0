import { expect, test } from "vitest";
import { runChecked } from "../../../agent/host/run.ts";
import { bundleScript } from "../../support/bundle-script.ts";
import type { Compiled } from "../../support/compile-child.ts";

// The gate, named, the rules and the revert timer are processes of their own, or none: they wait for no compiler.
test("GE23: a million names are read and compiled in bounded time and memory", { timeout: 150_000 }, async () => {
  const script = await bundleScript("compile-child");
  const answer = await runChecked([process.execPath, script, "1000000"], { timeoutMs: 120_000 });
  const { tookMs, maxRssBytes, artifacts } = JSON.parse(answer) as Compiled;
  expect(artifacts).toBeGreaterThan(64);
  expect(tookMs).toBeLessThan(90_000);
  expect(maxRssBytes).toBeLessThan(1.75e9);
});
