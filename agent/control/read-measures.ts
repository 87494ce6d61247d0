import type { Agent } from "../agent.ts";
import { readActiveFlows } from "../apply/active-flows.ts";
import { readBaseCounter, readCountedSet } from "../apply/kernel-counters.ts";
import { listProxyFlows } from "../apply/proxy-control.ts";
import { readProxyState } from "../apply/proxy-service.ts";
import { FLOW_TABLE } from "../compile/haproxy-addresses.ts";
import { REVOKED_COUNTER } from "../compile/nft-count.ts";
import { shapedSets } from "../compile/shaping.ts";
import { AgentError } from "../errors.ts";
import { formatAddress, parseAddress } from "../policy/cidr.ts";
import { probeClients } from "../settings/settings.ts";
import type { AgentMeasures, HostCount, ShapedCounter } from "./agent-calls.ts";
import { findHosts } from "./find-hosts.ts";

/** Returns what only metrics tell of; the gateway's own probes are nobody's. @throws AgentError GATE_UNREACHABLE */
export async function readMeasures({ apply, memory, settings }: Agent): Promise<AgentMeasures> {
  const own = probeClients(settings.health);
  const [straight, proxied, revoked, shaped] = await Promise.all([
    readActiveFlows(),
    ifAny(countProxyFlows(apply)),
    ifAny(readBaseCounter(REVOKED_COUNTER)),
    ifAny(readShaped()),
  ]);
  const lists = [straight, proxied, shaped].flatMap((list) => (list === null ? [] : [...list.keys()]));
  const hosts = await findHosts(
    apply.gate,
    [...new Set(lists)].filter((client) => !own.has(client)),
  );
  const { proxyRevoked, echHellos } = memory.activity;
  return {
    flows: { straight: byHost(straight, hosts), proxy: byHost(proxied, hosts) },
    revoked: { straight: revoked, proxy: proxyRevoked },
    shaped: shaped === null ? null : [...shaped].flatMap(([client, counts]) => shapedCounter(client, counts, hosts)),
    echHellos,
    steps: apply.stepTimes.read(),
  };
}

type Hosts = ReadonlyMap<string, string | null>;
type Shaped = Pick<ShapedCounter, "packets" | "bytes">;

/** What cannot be read is left out of an answer that has more to tell. */
async function ifAny<Value>(reading: Promise<Value>): Promise<Value | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof AgentError) return null;
    throw error;
  }
}

/** A client that the gate was not asked about is the gateway itself. */
function byHost(counts: ReadonlyMap<string, number> | null, hosts: Hosts): readonly HostCount[] | null {
  if (counts === null) return null;
  const sums = new Map<string | null, number>();
  for (const [client, count] of counts) {
    const host = hosts.get(client);
    if (host !== undefined) sums.set(host, (sums.get(host) ?? 0) + count);
  }
  return [...sums].map(([host, count]) => ({ host, count }));
}

function shapedCounter(client: string, counts: Shaped, hosts: Hosts): readonly ShapedCounter[] {
  const host = hosts.get(client);
  return host === undefined ? [] : [{ client, host, ...counts }];
}

/** A connection of TLS, or a request, that has an address and so was allowed. */
async function countProxyFlows(apply: Agent["apply"]): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const { isNeeded, pid } = await readProxyState(apply);
  if (!isNeeded || pid === null) return counts;
  const flows = await listProxyFlows(apply.paths.proxySocket, FLOW_TABLE);
  for (const { client, address } of flows) if (address !== null) counts.set(client, (counts.get(client) ?? 0) + 1);
  return counts;
}

async function readShaped(): Promise<ReadonlyMap<string, Shaped>> {
  const shaped = new Map<string, Shaped>();
  for (const elements of await Promise.all(shapedSets.map((name) => readCountedSet("policy", name)))) {
    for (const element of elements) {
      const { elem } = element as { readonly elem?: { readonly val?: unknown; readonly counter?: Shaped } };
      const address = typeof elem?.val === "string" ? parseAddress(elem.val) : null;
      if (address === null || elem?.counter === undefined) continue;
      const { packets, bytes } = elem.counter;
      shaped.set(formatAddress(address), { packets, bytes });
    }
  }
  return shaped;
}
