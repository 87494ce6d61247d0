import type { CompileResult } from "./compile-worker.ts";
import type { Measure, Row } from "./row.ts";
import { median } from "./statistics.ts";
import { runWorker } from "./worker.ts";

/** Policy text to artifacts, each time in a process of its own, beside writing the same records without a check. */
export const measureCompile: Measure = async ({ quick, say }) => {
  const rounds = quick ? 1 : 3;
  const names = [1_000, 10_000, 100_000].slice(0, quick ? 1 : 3).map((count) => [count, "names"] as const);
  const sizes = quick ? names : [...names, [100_000, "networks"] as const];
  const rows: Row[] = [];
  for (const [count, kind] of sizes) {
    const size = `${count.toLocaleString("en")} ${kind}`;
    say(size);
    const stdin = JSON.stringify(policyOfSize(count, kind), null, 1);
    const ours: CompileResult[] = [];
    const plain: CompileResult[] = [];
    for (let round = 0; round < rounds; round += 1) {
      ours.push(await runWorker("compile", {}, { stdin }));
      plain.push(await runWorker("plain", {}, { stdin }));
    }
    rows.push(...rowsOf(size, ours, plain, rounds));
  }
  return rows;
};

function rowsOf(
  size: string,
  ours: readonly CompileResult[],
  plain: readonly CompileResult[],
  rounds: number,
): readonly Row[] {
  const what = "ten lines, no checks";
  const ms = ({ parseMs, compileMs }: CompileResult): number => parseMs + compileMs;
  const mb = ({ peakBytes }: CompileResult): number => peakBytes / 1e6;
  const how = `${rounds} processes each in turns, median; ours: schema, meaning, places of every entry, zones, ruleset, gate's tables and digests (no tool judges them here); the alternative writes only zone or set`;
  return [
    {
      ...{ what: `compile ${size}`, unit: "ms", ours: median(ours.map(ms)), goal: null, how },
      other: { what, value: median(plain.map(ms)) },
    },
    {
      ...{ what: `compile ${size}, peak memory`, unit: "MB", ours: median(ours.map(mb)), goal: null, how },
      other: { what, value: median(plain.map(mb)) },
    },
  ];
}

function policyOfSize(count: number, kind: "names" | "networks"): object {
  const list = Array.from({ length: count }, (_, index) =>
    kind === "names"
      ? `host-${index}.service-${index % 100}.example.com`
      : `${20 + Math.floor(index / 65_536)}.${Math.floor(index / 256) % 256}.${index % 256}.0/24`,
  );
  return { version: 1, allow: { [kind === "names" ? "domains" : "ips"]: list, ports: [443] } };
}
