import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunResult, run } from "../../agent/host/run.ts";

const columns = ["ours", "the alternative", "ratio", "goal"] as const;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-bench-test-"));
});
afterAll(async () => await rm(folder, { recursive: true, force: true }));

const bench = (...argv: readonly string[]): Promise<RunResult> =>
  run([process.execPath, "dist/bench.mjs", ...argv], { timeoutMs: 100_000 });

describe("the bench", () => {
  it("prints a table and writes the same rows as JSON", async () => {
    const file = join(folder, "bench.json");
    const { exitCode, stdout, stderr } = await bench("compile", "poll", "--quick", "--json", file);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    const document = JSON.parse(await readFile(file, "utf8"));
    expect(document.failures).toEqual([]);
    expect(document.machine).toMatchObject({ kernel: expect.stringMatching(/^Linux \d/), node: expect.anything() });
    expect(
      document.rows.map(({ name, what, unit }: { [key: string]: string }) => `${name}: ${what} in ${unit}`),
    ).toEqual([
      "poll: poll with no change in ms",
      "poll: poll, bytes sent in B",
      "poll: poll, bytes received in B",
      "compile: compile 1,000 names in ms",
      "compile: compile 1,000 names, peak memory in MB",
    ]);
    for (const { ours, other, ratio, how } of document.rows) {
      expect(ours).toBeGreaterThan(0);
      expect(other.value).toBeGreaterThan(0);
      expect(ratio).toBeCloseTo(ours / other.value, 10);
      expect(how).not.toBe("");
    }
    const [head = "", rule = "", ...lines] = stdout.split("\n").filter((line) => line.startsWith("|"));
    for (const column of columns) expect(head).toContain(` ${column} `);
    expect(rule).toMatch(/^(\| -+ )+\|$/);
    expect(lines).toHaveLength(document.rows.length);
    for (const line of lines) expect(line).toHaveLength(head.length);
  });

  it("knows its measurements", async () => {
    const { exitCode, stderr } = await bench("nothing");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^no measurement nothing; there are poll, enforce, /);
  });
});
