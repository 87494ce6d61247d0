import { randomInt } from "node:crypto";
import { availableParallelism } from "node:os";
import { nowMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import type { StormResult } from "./storm-worker.ts";
import { runWorker } from "./worker.ts";

/** Enough to keep the cores busy: one waits for its answer while the other asks. */
export const CONNECTORS = 2 * availableParallelism();
/** Until every process has started, on a busy machine. */
const START_MS = 1_200;

export const bareCt = `table inet bare {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established accept
  }
}
`;

/** Connections that were reset are forgotten after a second, and a client has every port: else both would run out. */
export async function shortenMemory(lab: Lab): Promise<void> {
  const timeouts = ["close", "time_wait", "syn_sent", "syn_recv"].map(
    (state) => `net.netfilter.nf_conntrack_tcp_timeout_${state}=1`,
  );
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: bareCt });
  await lab.execChecked("gateway", ["sysctl", "-qw", ...timeouts]);
  await lab.execChecked("agent1", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"]);
}

/** Returns the items in a random order, so that none always follows the same. */
export function shuffle<Item>(items: readonly Item[]): readonly Item[] {
  const keyed = items.map((item) => ({ item, key: randomInt(2 ** 40) }));
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item);
}

/**
 * Returns how many connections a second a client makes, over several processes.
 * @throws Error when a connection in a hundred fails: then it is not the rate that was measured
 */
export async function storm(
  lab: Lab,
  params: {
    readonly addresses: readonly string[];
    readonly port: number;
    readonly forMs: number;
    readonly hello?: string;
  },
): Promise<number> {
  const beginAtMs = nowMs() + START_MS;
  const connect = (): Promise<StormResult> =>
    runWorker("storm", { ...params, beginAtMs }, { on: { lab, node: "agent1" } });
  const results = await Promise.all(Array.from({ length: CONNECTORS }, connect));
  const made = results.reduce((sum, result) => sum + result.made, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  if (failed > made / 100) throw new Error(`${failed} connections failed, ${made} were made`);
  return results.reduce((sum, { made: own, tookMs }) => sum + (own * 1000) / tookMs, 0);
}
