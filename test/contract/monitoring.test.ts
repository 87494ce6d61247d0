import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMetrics, type MetricsNow } from "../../agent/api/metrics.ts";
import { run } from "../../agent/host/run.ts";

/** The dashboard and the alerts name metrics that exist, and the metrics are as Prometheus wants them. */

const folder = join(import.meta.dirname, "..", "..", "packaging", "monitoring");
const rules = readFileSync(join(folder, "clawgress.rules.yml"), "utf8");
const dashboard = readFileSync(join(folder, "dashboard.json"), "utf8");
const now: MetricsNow = {
  ...{ nowMs: 1_800_000_000_000, status: null, counters: null },
  store: { rows: 1, keys: 1, bytes: 1, completeSinceS: 1, damagedLines: 0 },
};
const text = await createMetrics().render(now);
const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [name, type]));

/** Runs promtool where it is installed (Debian: prometheus); null elsewhere. */
async function promtool(
  ...argv: readonly string[]
): Promise<{ readonly exitCode: number; readonly said: string } | null> {
  const program = process.env["PROMTOOL"] ?? "promtool";
  const result = await run([program, ...argv.slice(0, 2)], { timeoutMs: 20_000, stdin: argv[2] ?? "" }).catch(
    () => null,
  );
  return result === null ? null : { exitCode: result.exitCode, said: result.stdout + result.stderr };
}

describe("metrics", () => {
  test("have help, and counters alone end in _total", () => {
    expect(types.size).toBeGreaterThan(25);
    for (const [name, type] of types) {
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.*\\.$`, "m"));
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      expect(name).toMatch(/^clawgress_[a-z_]+$/);
    }
  });

  test("pass promtool where there is one", async () => {
    const checked = await promtool("check", "metrics", text);
    if (checked !== null) expect(checked.said).toBe("");
  });
});

describe("alerts and dashboard", () => {
  test.each([
    ["clawgress.rules.yml", rules],
    ["dashboard.json", dashboard],
  ])("%s names metrics that exist", (_file, content) => {
    const named = [...content.matchAll(/\b(clawgress_[a-z_]+)\b/g)].map(([, name]) => name ?? "");
    expect(named.length).toBeGreaterThan(8);
    for (const name of named) expect([...types.keys()], name).toContain(name);
  });

  test("the rules pass promtool where there is one", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "clawgress-rules-")), "rules.yml");
    writeFileSync(file, rules);
    const program = process.env["PROMTOOL"] ?? "promtool";
    const checked = await run([program, "check", "rules", file], { timeoutMs: 20_000 }).catch(() => null);
    if (checked !== null) expect(checked.exitCode, checked.stderr).toBe(0);
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
