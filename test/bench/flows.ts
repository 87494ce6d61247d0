import type { Lab } from "../lab/lab.ts";
import { waitForOutput } from "../lab/services.ts";
import { raiseDatapath } from "../support/datapath.ts";
import { openGateway } from "../support/open-gateway.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { median } from "./statistics.ts";
import { bareCt, CONNECTORS, shortenMemory, shuffle, storm } from "./storm.ts";
import { workerArgv } from "./worker.ts";

const PORT = 9_999;
/** The lab's far end counts what is uploaded to it. */
const UPLOAD_PORT = 7_002;
/** In the range that the internet side takes as its own; several, so that ports come round later. */
const targets: readonly string[] = Array.from({ length: 16 }, (_, index) => `203.0.113.${100 + index}`);

/** New connections a second through the gateway, the client being the last of many hosts with a policy of their own. */
export const measureFlows: Measure = ({ quick, say }) =>
  withLab(async (lab) => {
    const [rounds, forMs] = quick ? [1, 300] : [7, 500];
    const hostCounts = quick ? [1, 10] : [1, 1_000, 10_000];
    await shortenMemory(lab);
    await waitForOutput(lab.spawn("internet", workerArgv("accept", { port: PORT })), "listening", "the acceptor");
    const variants = [
      { name: "unfiltered", raise: () => openGateway(lab) },
      { name: "bare ct", raise: () => raiseBareCt(lab) },
      ...hostCounts.map((count) => ({ name: String(count), raise: () => raiseHosts(lab, count) })),
    ];
    const rates = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
    const bulk = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const variant of shuffle(variants)) {
        await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
        await variant.raise();
        rates.get(variant.name)?.push(await storm(lab, { addresses: targets, port: PORT, forMs }));
        bulk.get(variant.name)?.push(await bulkKbps(lab, forMs));
      }
    }
    const of = (name: string): number => median(rates.get(name) ?? []);
    const bulkOf = (name: string): number => median(bulk.get(name) ?? []);
    const how = `${rounds} runs of ${forMs / 1000} s, shuffled in each round, median; ${CONNECTORS} processes connect and reset, all sides on this machine's cores; everything is masked, by all variants; the address is a listed network's, which is looked up last`;
    const row = (what: string, ours: number, other: string, goal: string | null): Row => ({
      ...{ what: `new connections, ${what}`, unit: "/s", ours, other: { what: other, value: of(other) }, goal, how },
    });
    const policies = (count: number): string =>
      `${count.toLocaleString("en")} host ${count === 1 ? "policy" : "policies"}`;
    const bulkHow = `${rounds} uploads of one flow for ${forMs / 1000} s each, as it is received, in the same runs, median`;
    const bulkRow = (what: string, ours: number): Row => ({
      ...{ what: `bulk throughput, ${what}`, unit: "kbit/s", ours, goal: null, how: bulkHow },
      other: { what: "unfiltered", value: bulkOf("unfiltered") },
    });
    return [
      ...hostCounts.map((count) =>
        row(policies(count), of(String(count)), "unfiltered", count === 1_000 ? "≥ 0.83×" : null),
      ),
      row("for scale: one ct rule", of("bare ct"), "unfiltered", null),
      ...hostCounts.map((count) => bulkRow(policies(count), bulkOf(String(count)))),
      bulkRow("for scale: one ct rule", bulkOf("bare ct")),
    ];
  });

async function raiseBareCt(lab: Lab): Promise<void> {
  await openGateway(lab);
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: bareCt });
}

async function raiseHosts(lab: Lab, count: number): Promise<void> {
  const others = Array.from({ length: count - 1 }, (_, index) => [
    `host-${index}`,
    {
      sources: [`10.${100 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${index % 250}`],
      allow: { ips: [`198.18.${index % 256}.${Math.floor(index / 256)}`], ports: [53, 80, 443] },
    },
  ]);
  const last = {
    sources: [lab.addresses.agent1.v4],
    allow: { ips: ["203.0.113.0/24"], ports: [80, 443, UPLOAD_PORT, PORT] },
  };
  const allow = { domains: ["none.example.com"] };
  const path = await raiseDatapath(lab);
  await path.load({ version: 1, allow, hosts: { ...Object.fromEntries(others), last } });
}

/** @throws Error when there was no upload: then nothing was measured */
async function bulkKbps(lab: Lab, forMs: number): Promise<number> {
  const result = await lab.client("agent1").upload(targets[0] ?? "", { flows: 1, warmUpMs: 200, forMs });
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  return result.kbps;
}
