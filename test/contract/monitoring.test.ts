import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMetrics, type MetricsNow } from "../../agent/api/metrics.ts";
import { run } from "../../agent/host/run.ts";
import { sampleMeasures, sampleRows, sampleStatus } from "../support/face-samples.ts";

/** The dashboard and the alerts name metrics that exist, and the metrics are as Prometheus wants them. */

const folder = join(import.meta.dirname, "..", "..", "packaging", "monitoring");
const rules = readFileSync(join(folder, "clawgress.rules.yml"), "utf8");
const dashboard = readFileSync(join(folder, "dashboard.json"), "utf8");
const now: MetricsNow = {
  ...{ nowMs: 1_800_000_000_000, status: null, counters: null, measures: null },
  store: { rows: 1, keys: 1, bytes: 1, completeSinceS: 1, damagedLines: 0 },
};
const text = await createMetrics().render(now);
/** With a value of everything. */
const full = await renderFull();
const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [name, type]));

/** A histogram's buckets have names of their own. */
const names = [...types].flatMap(([name, type]) => (type === "histogram" ? [name, `${name}_bucket`] : [name]));

/** In Debian's package prometheus. */
const promtool = process.env["PROMTOOL"] ?? "promtool";
const options = { timeoutMs: 20_000 };
const hasPromtool = await run([promtool, "--version"], options).then(
  () => true,
  () => false,
);

describe("metrics", () => {
  test("have help, and counters alone end in _total", () => {
    expect(types.size).toBeGreaterThan(25);
    for (const [name, type] of types) {
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.*\\.$`, "m"));
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      expect(name).toMatch(/^clawgress_[a-z_]+$/);
    }
  });

  test("have a value each where everything answers", () => {
    for (const name of types.keys()) expect(full, name).toMatch(new RegExp(`^${name}(_count)?[{ ]`, "m"));
  });

  test("of an agent that does not answer say that it is down, and no figure that nobody knows", () => {
    const samples = text.split("\n").filter((line) => line.startsWith("clawgress_") && !line.includes("_stored_"));
    expect(samples).toEqual(['clawgress_component_up{component="agent"} 0']);
  });

  test.runIf(hasPromtool)("pass promtool where there is one", async () => {
    for (const stdin of [text, full]) {
      const { stdout, stderr } = await run([promtool, "check", "metrics"], { ...options, stdin });
      expect(stdout + stderr).toBe("");
    }
  });
});

describe("alerts and dashboard", () => {
  test.each([
    ["clawgress.rules.yml", rules],
    ["dashboard.json", dashboard],
  ])("%s names metrics that exist", (_file, content) => {
    const named = [...content.matchAll(/\b(clawgress_[a-z_]+)\b/g)].map(([, name]) => name ?? "");
    expect(named.length).toBeGreaterThan(8);
    for (const name of named) expect(names, name).toContain(name);
  });

  test.runIf(hasPromtool)("the rules pass promtool where there is one", async () => {
    const checked = await run([promtool, "check", "rules", join(folder, "clawgress.rules.yml")], options);
    expect(checked.exitCode, checked.stderr).toBe(0);
  });

  test("each panel has a query, a place and a number of its own", () => {
    const { panels } = JSON.parse(dashboard) as {
      panels: readonly { id: number; gridPos: { x: number; w: number }; targets: readonly { expr: string }[] }[];
    };
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { gridPos, targets } of panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      for (const { expr } of targets) expect(expr).toContain("clawgress_");
    }
  });
});

async function renderFull(): Promise<string> {
  const metrics = createMetrics();
  metrics.note(sampleRows(now.nowMs / 1000));
  metrics.begin({ ...sampleMeasures, shaped: [] });
  const counters = { epoch: "", traffic: [], denied: { denied_forward: 4, over_limit: 2 } };
  return await metrics.render({ ...now, status: sampleStatus("broken"), counters, measures: sampleMeasures });
}
