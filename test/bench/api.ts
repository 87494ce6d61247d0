import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Telemetry } from "../../agent/decisions/telemetry.ts";
import type { Lab } from "../lab/lab.ts";
import { eventually } from "../support/eventually.ts";
import { API_UID, setUpGateway, type TestGateway } from "../support/gateway.ts";
import { smallPolicy } from "./gateway.ts";
import { haveProgram } from "./programs.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { percentile } from "./statistics.ts";

const PORT = 8420;
const gate = { maxPinsPerClient: 1_000_000, maxNamesPerClient: 1_000_000, maxQueriesPerS: 1_000_000 };

/** The API and the metrics while the gate denies all that it can, and whether every one of those denials is stored. */
export const measureApi: Measure = (context) =>
  withLab(async (lab) => {
    const api = { user: API_UID, port: PORT, requestsPerMinute: 1_000_000 };
    const gateway = await setUpGateway(lab, { policy: smallPolicy(), config: { gate, api } });
    const agent = gateway.start();
    try {
      await gateway.awaitStatus(await gateway.head(), ["success"]);
      const key = JSON.parse((await verb(gateway, "key", "add", "bench", "--json")).stdout) as { readonly key: string };
      await eventually("the API answers", async () => (await call(lab, key.key, "/metrics", 1)).length === 1);
      const [rounds, seconds] = context.quick ? [10, 2] : [100, 10];
      context.say("without load");
      const idle = await callAll(lab, key.key, rounds);
      if (!(await haveProgram("dnsperf", context.say))) return rowsOf(idle, idle, 0);
      context.say(`while names are denied for ${seconds} s`);
      const load = deny(lab, seconds);
      const busy = await callAll(lab, key.key, rounds);
      const { denied, perS } = await load;
      const lost = denied - (await storedDenials(gateway, denied));
      const how = `dnsperf, one client, 50 questions at a time, each another name, ${Math.round(perS).toLocaleString("en")} a second for ${seconds} s; what dnsperf saw denied less what telemetry says`;
      return [
        ...rowsOf(busy, idle, perS),
        { what: "denials that are not stored", unit: "lost", ours: lost, other: null, goal: "0", how },
      ];
    } finally {
      await agent.kill("SIGTERM");
    }
  });

const paths = ["/metrics", "/api/clawgress/status", "/api/clawgress/decisions?view=agents"] as const;
type Latencies = ReadonlyMap<string, readonly number[]>;

function verb(gateway: TestGateway, ...argv: readonly string[]): ReturnType<TestGateway["clawgress"]> {
  return gateway.clawgress([...argv, "--config", gateway.configFile]);
}

async function callAll(lab: Lab, key: string, rounds: number): Promise<Latencies> {
  const latencies = new Map<string, readonly number[]>();
  for (const path of paths) latencies.set(path, await call(lab, key, path, rounds));
  return latencies;
}

/** Calls one after the other on a kept connection; returns how many milliseconds each took. */
async function call(lab: Lab, key: string, path: string, rounds: number): Promise<readonly number[]> {
  const script = `const ms = [];
    for (let round = 0; round < ${rounds}; round++) {
      const startedMs = performance.now();
      const answer = await fetch("http://127.0.0.1:${PORT}${path}", { headers: { authorization: "Bearer ${key}" } }).catch(() => null);
      if (answer === null || answer.status !== 200) continue;
      await answer.text();
      ms.push(performance.now() - startedMs);
    }
    console.log(JSON.stringify(ms));`;
  const argv = [process.execPath, "--input-type=module", "-e", script] as const;
  return JSON.parse(await lab.execChecked("gateway", [...argv], { timeoutMs: 120_000 })) as readonly number[];
}

function rowsOf(busy: Latencies, idle: Latencies, perS: number): readonly Row[] {
  const load = perS === 0 ? "without load" : `at ${Math.round(perS).toLocaleString("en")} denials a second`;
  return paths.flatMap((path) =>
    (
      [
        ["p50", 0.5],
        ["p99", 0.99],
      ] as const
    ).map(([label, share]) => ({
      what: `${path.split("?", 1)[0]}, ${label}`,
      unit: "ms" as const,
      ours: percentile(busy.get(path) ?? [], share),
      other: { what: "without load", value: percentile(idle.get(path) ?? [], share) },
      goal: null,
      how: `one after the other on a kept connection, ${load}; two cores for client, gate, named, API and load generator`,
    })),
  );
}

async function deny(lab: Lab, seconds: number): Promise<{ readonly denied: number; readonly perS: number }> {
  const file = join(lab.folder, "denied.txt");
  const names = Array.from({ length: 30_000 * seconds }, (_value, index) => `x${index}.denied.test A\n`);
  await writeFile(file, names.join(""));
  const argv = [
    "-s",
    lab.addresses.lan.v4,
    "-d",
    file,
    "-l",
    String(seconds),
    "-c",
    "1",
    "-T",
    "1",
    "-q",
    "50",
    "-t",
    "5",
  ];
  const text = await lab.execChecked("agent1", ["dnsperf", ...argv], { timeoutMs: 120_000 });
  const denied = Number(/NXDOMAIN (\d+)/.exec(text)?.[1] ?? 0);
  const took = Number(/Run time \(s\):\s+([\d.]+)/.exec(text)?.[1] ?? Number.NaN);
  if (!(denied > 0 && took > 0)) throw new Error(`dnsperf got no denials: ${text.slice(-600)}`);
  return { denied, perS: denied / took };
}

async function storedDenials(gateway: TestGateway, wanted: number): Promise<number> {
  const read = async (): Promise<number> => {
    const { stdout } = await verb(gateway, "telemetry", "agents", "--window", "1h", "--json");
    return (JSON.parse(stdout) as Telemetry).totals.queriesDenied;
  };
  await eventually("all are stored", async () => (await read()) >= wanted).catch(() => {
    // The row says how many are missing.
  });
  return await read();
}
