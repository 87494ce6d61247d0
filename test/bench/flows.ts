import { availableParallelism } from "node:os";
import { nowMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import { waitForOutput } from "../lab/services.ts";
import { raiseDatapath } from "../support/datapath.ts";
import { openGateway } from "../support/open-gateway.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import type { StormResult } from "./storm-worker.ts";
import { runWorker, workerArgv } from "./worker.ts";

const PORT = 9_999;
/** Enough to keep the cores busy: one waits for its answer while the other asks. */
const CONNECTORS = 2 * availableParallelism();
/** Until every process has started, on a busy machine. */
const START_MS = 1_200;
/** In the range that the internet side takes as its own; several, so that ports come round later. */
const targets: readonly string[] = Array.from({ length: 16 }, (_, index) => `203.0.113.${100 + index}`);

const bareCt = `table inet bare {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established accept
  }
}
`;

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
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      // Each round begins with another one, so that no variant always follows the same.
      const order = variants.map((_, index) => variants[(index + round) % variants.length]);
      for (const variant of order) {
        if (variant === undefined) continue;
        await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
        await variant.raise();
        rates.get(variant.name)?.push(await connectionsPerS(lab, forMs));
      }
    }
    // Rates fall into two heaps, with and without other work on the machine; the highest is what the rules alone cost.
    const of = (name: string): number => Math.max(...(rates.get(name) ?? []));
    const how = `${rounds} runs of ${forMs / 1000} s in turns, the highest, as other work on the machine only takes away; ${CONNECTORS} processes connect and reset, all sides on this machine's cores; everything is masked, by all variants; the address is a listed network's, which is looked up last`;
    const row = (what: string, ours: number, other: string, goal: string | null): Row => ({
      ...{ what: `new connections, ${what}`, unit: "/s", ours, other: { what: other, value: of(other) }, goal, how },
    });
    return [
      ...hostCounts.map((count) =>
        row(
          `${count.toLocaleString("en")} host ${count === 1 ? "policy" : "policies"}`,
          of(String(count)),
          "unfiltered",
          count === 1_000 ? "≥ 0.83×" : null,
        ),
      ),
      row("for scale: one ct rule", of("bare ct"), "unfiltered", null),
    ];
  });

/** Connections that were reset are forgotten after a second, and a client has every port: else both would run out. */
async function shortenMemory(lab: Lab): Promise<void> {
  const timeouts = ["close", "time_wait", "syn_sent", "syn_recv"].map(
    (state) => `net.netfilter.nf_conntrack_tcp_timeout_${state}=1`,
  );
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: bareCt });
  await lab.execChecked("gateway", ["sysctl", "-qw", ...timeouts]);
  await lab.execChecked("agent1", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"]);
}

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
  const last = { sources: [lab.addresses.agent1.v4], allow: { ips: ["203.0.113.0/24"], ports: [80, 443, PORT] } };
  const allow = { domains: ["none.example.com"] };
  const path = await raiseDatapath(lab);
  await path.load({ version: 1, allow, hosts: { ...Object.fromEntries(others), last } });
}

/** @throws Error when a connection in a hundred fails: then it is not the rate that was measured */
async function connectionsPerS(lab: Lab, forMs: number): Promise<number> {
  const beginAtMs = nowMs() + START_MS;
  const storm = (): Promise<StormResult> =>
    runWorker("storm", { addresses: targets, port: PORT, beginAtMs, forMs }, { on: { lab, node: "agent1" } });
  const results = await Promise.all(Array.from({ length: CONNECTORS }, storm));
  const made = results.reduce((sum, result) => sum + result.made, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  if (failed > made / 100) throw new Error(`${failed} connections failed, ${made} were made`);
  return results.reduce((sum, { made: own, tookMs }) => sum + (own * 1000) / tookMs, 0);
}
