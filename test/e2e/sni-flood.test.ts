import { stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { clientHello } from "../support/client-hello.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";

/** A client that is denied in SNI mode as fast as it can ask: few lines, every denial counted, nobody else notices. */

const FLOOD_S = 4;
const target = "203.0.113.60";

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
let records: RecordReader;

beforeAll(async () => {
  lab = await startLab();
  const policy = {
    version: 1,
    allow: { domains: ["*.wild.test"], ports: [443] },
    proxy: { mode: "sni-allowlist" },
  };
  gateway = await setUpGateway(lab, { policy });
  agent = gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  records = readProxyRecords(gateway);
});
afterAll(async () => {
  await lab?.stop();
});

interface Stats {
  readonly denied: { readonly tls?: { readonly [reason: string]: number } };
  readonly proxy: { readonly unattributed: number } | null;
}

async function readStats(): Promise<{ readonly text: string; readonly denials: number; readonly lost: number }> {
  const argv = ["stats", "--config", gateway.configFile];
  const [json, text] = await Promise.all([gateway.clawgress([...argv, "--json"]), gateway.clawgress(argv)]);
  const { denied, proxy } = JSON.parse(json.stdout) as Stats;
  return { text: text.stdout, denials: denied.tls?.["sni-not-allowed"] ?? 0, lost: proxy?.unattributed ?? 0 };
}

test("a flood of denied names is counted to the last one, few lines are written, and others go on", async () => {
  const before = await readStats();
  const hello = clientHello({ names: ["flood.denied.test"] }).toString("base64");
  const flooding = lab.exec(
    "agent1",
    [
      process.execPath,
      fileURLToPath(new URL("../support/hello-flood.mjs", import.meta.url)),
      target,
      "443",
      hello,
      String(FLOOD_S),
      "60",
    ],
    { timeoutMs: 30_000 },
  );
  let isOver = false;
  const others: { readonly outcome: string; readonly ms: number }[] = [];
  void flooding.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    others.push(await lab.client("agent2").tls("x.wild.test", 443, { family: 4, timeoutMs: 3_000 }));
    await sleepMs(20);
  }
  const sent = Number((await flooding).stdout);
  expect(sent).toBeGreaterThan(1_000);
  expect(new Set(others.map(({ outcome }) => outcome))).toEqual(new Set(["connected"]));
  await eventually("all are counted", async () => (await readStats()).denials >= before.denials + sent);
  const after = await readStats();
  expect(after).toMatchObject({ denials: before.denials + sent, lost: before.lost });
  expect(after.text).toMatch(/denied by the proxy since .*\n[\s\S]* tls {2}sni-not-allowed/);
  const isFlood = { name: "flood.denied.test", reason: "sni-not-allowed" };
  await eventually("the lines add up", async () => {
    const lines = (await records.all()).filter(({ name }) => name === isFlood.name);
    return lines.reduce((sum, { suppressed }) => sum + 1 + suppressed, 0) === sent;
  });
  const lines = (await records.all()).filter(({ name }) => name === isFlood.name);
  expect(lines.length).toBeLessThan(30);
  const { size } = await stat(join(gateway.folder, "run", "proxy.jsonl"));
  expect(size).toBeLessThan(2 * 1024 * 1024);
  const slowest = Math.max(...others.map(({ ms }) => ms));
  console.log(
    `${Math.round(sent / FLOOD_S)} denied/s, ${lines.length} lines; ${others.length} of others, the slowest ${slowest.toFixed(0)} ms`,
  );
});

test("totals go on when another agent follows", async () => {
  const before = await readStats();
  await agent.kill("SIGKILL");
  for (const name of ["one.denied.test", "two.denied.test"]) {
    const answer = await lab
      .client("agent1")
      .exchange(target, 443, clientHello({ names: [name] }), { timeoutMs: 4_000 });
    expect(answer).toMatchObject({ data: "" });
  }
  agent = gateway.start();
  await eventually("both are counted, once", async () => (await readStats()).denials >= before.denials + 2);
  await sleepMs(1_500);
  expect((await readStats()).denials).toBe(before.denials + 2);
});
