import { countSets } from "../compile/nft-count.ts";
import type { KernelCounters, TrafficCounter } from "../control/agent-calls.ts";
import { AgentError } from "../errors.ts";
import type { ClientGrant, GateControl, GrantText } from "../gate/control-client.ts";
import { readBootId } from "../host/clock.ts";
import { formatAddress, parseAddress } from "../policy/cidr.ts";
import { readTableHandles } from "./kernel.ts";
import { readCountedSet, readDenyCounters } from "./kernel-counters.ts";

/** Reads what the kernel counted of what was let through, and says of each count whose and what for it is. */
export interface TrafficReader {
  /** @throws AgentError HOST_COMMAND, GATE_UNREACHABLE */
  read(): Promise<KernelCounters>;
}

type Counts = { connections: number; bytesUp: number; bytesDown: number };

/** Grants whose meaning is remembered: the gate forgets those that nobody uses. */
const MAX_KNOWN = 65_536;
/** One call to the gate. */
const MAX_PAIRS = 5_000;

/** Returns a reader that asks the gate for what it does not know yet, and leaves out the gateway's own probes. */
export function createTrafficReader(
  gate: Pick<GateControl, "describeGrants" | "status">,
  own: ReadonlySet<string>,
): TrafficReader {
  const known = new Map<string, GrantText>();
  let release: string | null = null;

  const learn = async (pairs: readonly ClientGrant[]): Promise<void> => {
    for (let at = 0; at < pairs.length; at += MAX_PAIRS) {
      const part = pairs.slice(at, at + MAX_PAIRS);
      const texts = await gate.describeGrants(part);
      for (const [index, text] of texts.entries()) {
        const pair = part[index];
        if (pair === undefined || text === null) continue;
        const [oldest] = known.size >= MAX_KNOWN ? known.keys() : [];
        if (oldest !== undefined) known.delete(oldest);
        known.set(pair.join(" "), text);
      }
    }
  };
  return {
    read: async () => {
      const [epoch, counts, denied] = await Promise.all([readEpoch(), readCounts(), readDenyCounters()]);
      const { digest } = await gate.status();
      // Another policy may have moved a client to another host, or a rule to another line.
      if (digest !== release) known.clear();
      release = digest;
      for (const id of counts.keys()) if (own.has(parsePair(id)[0])) counts.delete(id);
      const pairs = [...counts.keys()].map(parsePair);
      await learn(pairs.filter((pair) => !known.has(pair.join(" "))));
      const traffic = [...counts].map(([id, count]): TrafficCounter => {
        const [client, grant] = parsePair(id);
        return { client, grant, ...(known.get(id) ?? unknownGrant), ...count };
      });
      return { epoch, traffic, denied };
    },
  };
}

const unknownGrant = { host: null, name: null, network: null, ports: null, label: null, rule: null };

async function readEpoch(): Promise<string> {
  const [boot, { base }] = await Promise.all([readBootId(), readTableHandles()]);
  if (base === null) throw new AgentError("HOST_COMMAND", "the base table does not stand: nothing is counted");
  return `${boot} ${base}`;
}

/** Returns address and grant → what was counted. */
async function readCounts(): Promise<Map<string, Counts>> {
  const counts = new Map<string, Counts>();
  const take = (name: string, add: (counts: Counts, packets: number, bytes: number) => void) => async () => {
    for (const element of await readCountedSet("base", name)) {
      const { elem } = element as { elem?: { val?: { concat?: unknown }; counter?: Counter } };
      const id = pairText(elem?.val?.concat);
      if (id === null || elem?.counter === undefined) continue;
      const known = counts.get(id) ?? { connections: 0, bytesUp: 0, bytesDown: 0 };
      counts.set(id, known);
      add(known, elem.counter.packets, elem.counter.bytes);
    }
  };
  const reads = [
    // Connections first: one that is opened while the others are read has no bytes yet, and never the other way round.
    ...countSets.connections.map((name) => take(name, (sum, packets) => (sum.connections = packets))),
    ...countSets.up.map((name) => take(name, (sum, _packets, bytes) => (sum.bytesUp = bytes))),
    ...countSets.down.map((name) => take(name, (sum, _packets, bytes) => (sum.bytesDown = bytes))),
  ];
  await Promise.all(reads.map((read) => read()));
  return counts;
}

interface Counter {
  readonly packets: number;
  readonly bytes: number;
}

function pairText(concat: unknown): string | null {
  if (!Array.isArray(concat)) return null;
  const [client, grant] = concat as readonly unknown[];
  const address = typeof client === "string" ? parseAddress(client) : null;
  return address === null || !Number.isInteger(grant) ? null : `${formatAddress(address)} ${grant as number}`;
}

function parsePair(id: string): ClientGrant {
  const [client = "", grant = ""] = id.split(" ");
  return [client, Number(grant)];
}
