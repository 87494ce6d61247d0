import { writeFile } from "node:fs/promises";
import { availableParallelism, release } from "node:os";
import { parseArgs } from "node:util";
import { run } from "../../agent/host/run.ts";
import type { Measure, Row } from "./row.ts";
import { ratioOf, renderTable } from "./table.ts";
import { beWorker } from "./workers.ts";

/** `npm run bench -- [NAME…] [--quick] [--names N] [--json FILE]`: our figures beside what a user would have instead. */

const measures: { readonly [name: string]: () => Promise<Measure> } = {
  poll: async () => (await import("./poll.ts")).measurePoll,
  enforce: async () => (await import("./enforce.ts")).measureEnforce,
  fetch: async () => (await import("./fetch.ts")).measureFetch,
  change: async () => (await import("./change.ts")).measureChange,
  compile: async () => (await import("./compile.ts")).measureCompile,
  ruleset: async () => (await import("./ruleset.ts")).measureRuleset,
  dns: async () => (await import("./dns.ts")).measureDns,
  connect: async () => (await import("./connect.ts")).measureConnect,
  flows: async () => (await import("./flows.ts")).measureFlows,
  "flows-sni": async () => (await import("./flows-sni.ts")).measureFlowsSni,
  limits: async () => (await import("./limits.ts")).measureLimits,
  "limits-far": async () => (await import("./limits.ts")).measureLimitsFar,
  approvals: async () => (await import("./approvals.ts")).measureApprovals,
  "limits-paths": async () => (await import("./limits-paths.ts")).measureLimitsPaths,
  api: async () => (await import("./api.ts")).measureApi,
  decisions: async () => (await import("./decisions.ts")).measureDecisions,
  idle: async () => (await import("./idle.ts")).measureIdle,
};

async function bench(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { json: { type: "string" }, names: { type: "string" }, quick: { type: "boolean", default: false } },
  });
  const only = values.names === undefined ? null : Number(values.names);
  if (only !== null && !(Number.isInteger(only) && only >= 100 && only <= 1_000_000)) {
    console.error("--names takes a number from 100 to 1000000");
    return 2;
  }
  const unknown = positionals.filter((name) => !Object.hasOwn(measures, name));
  if (unknown.length > 0) {
    console.error(`no measurement ${unknown.join(", ")}; there are ${Object.keys(measures).join(", ")}`);
    return 2;
  }
  const startedMs = performance.now();
  const rows: (Row & { readonly name: string })[] = [];
  const failures: string[] = [];
  for (const [name, load] of Object.entries(measures)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const say = (text: string): void => console.error(`${name}: ${text}`);
    say("begins");
    try {
      const measure = await load();
      rows.push(...(await measure({ quick: values.quick, names: only, say })).map((row) => ({ name, ...row })));
    } catch (error) {
      // The other measurements are worth having without this one.
      failures.push(name);
      say(`failed: ${(error as Error).message}`);
    }
  }
  const machine = await describeMachine();
  const tookS = Math.round((performance.now() - startedMs) / 1000);
  console.log(`${Object.values(machine).join(", ")}; ${tookS} s\n\n${renderTable(rows)}`);
  if (failures.length > 0) console.log(`\nFailed, and not in the table: ${failures.join(", ")}`);
  if (values.json !== undefined) {
    const document = { machine, tookS, failures, rows: rows.map((row) => ({ ...row, ratio: ratioOf(row) })) };
    await writeFile(values.json, `${JSON.stringify(document, null, 2)}\n`);
  }
  return failures.length === 0 ? 0 : 1;
}

async function describeMachine(): Promise<{ readonly [what: string]: string }> {
  const versionOf = async (argv: readonly [string, ...string[]]): Promise<string> => {
    const { stdout, stderr } = await run(argv, { timeoutMs: 5_000 });
    return /\d+\.\d+(\.\d+)?/.exec(stdout + stderr)?.[0] ?? "unknown";
  };
  return {
    date: new Date().toISOString().slice(0, 10),
    kernel: `Linux ${release()}`,
    cores: `${availableParallelism()} cores`,
    node: `Node ${process.version.slice(1)}`,
    nft: `nft ${await versionOf(["nft", "--version"])}`,
    named: `BIND ${await versionOf(["named", "-v"])}`,
    git: `git ${await versionOf(["git", "--version"])}`,
  };
}

const [flag, worker = "", params = "{}"] = process.argv.slice(2);
if (flag === "--worker") await beWorker(worker, params);
else process.exitCode = await bench();
