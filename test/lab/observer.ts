import { type Block, type PacketCount, readCounters, subtractCounters, sumCounters, writeBlocks } from "./counters.ts";
import type { Lab, WebRequest } from "./lab.ts";
import { type NameServerFiles, readQueryLog } from "./name-server.ts";
import type { GitCounters } from "./repositories.ts";
import type { CallServices } from "./services.ts";

export interface ObserverOptions {
  readonly call: CallServices;
  /** How to run nft on the internet side. */
  readonly nft: readonly [string, ...string[]];
  readonly dns: NameServerFiles;
}

type Observer = Pick<Lab, "mark" | "packets" | "queries" | "requests" | "block"> & {
  readonly gitCounters: () => Promise<GitCounters>;
};

interface Mark {
  readonly packets: readonly PacketCount[];
  readonly logOffset: number;
  readonly requests: number;
  readonly git: GitCounters;
}

/** Returns functions that tell what reached the internet side since the last mark; the first one is set here. */
export async function observe({ call, nft, dns }: ObserverOptions): Promise<Observer> {
  const requests = async (): Promise<readonly WebRequest[]> => (await call("web.requests")) as readonly WebRequest[];
  const gitCounters = async (): Promise<GitCounters> => (await call("git.counters")) as GitCounters;
  const take = async (): Promise<Mark> => {
    await flushQueryLog(call);
    const [packets, log, seen, git] = await Promise.all([
      readCounters(nft),
      readQueryLog(dns, Number.MAX_SAFE_INTEGER),
      requests(),
      gitCounters(),
    ]);
    return { packets, logOffset: log.end, requests: seen.length, git };
  };
  let mark = await take();
  return {
    mark: async () => {
      mark = await take();
    },
    packets: async (filter = {}) => sumCounters(subtractCounters(await readCounters(nft), mark.packets), filter),
    queries: async (filter = {}) => {
      await flushQueryLog(call);
      const { queries } = await readQueryLog(dns, mark.logOffset);
      return queries.filter(
        (query) =>
          (filter.name === undefined || matchesName(query.name, filter.name)) &&
          (filter.type === undefined || query.type === filter.type),
      );
    },
    requests: async () => (await requests()).slice(mark.requests),
    gitCounters: async () => {
      const now = await gitCounters();
      return {
        connections: now.connections - mark.git.connections,
        bytesIn: now.bytesIn - mark.git.bytesIn,
        bytesOut: now.bytesOut - mark.git.bytesOut,
        requests: now.requests.slice(mark.git.requests.length),
      };
    },
    block: (blocks: readonly Block[]) => writeBlocks(nft, blocks),
  };
}

/**
 * The server has one thread and writes a line before it answers: two questions one after the other are behind
 * everything that had arrived before, on whichever of its sockets.
 */
async function flushQueryLog(call: CallServices): Promise<void> {
  for (let answered = 0, attempt = 0; answered < 2; attempt += 1) {
    if (attempt > 50) throw new Error("the lab's named does not answer; its query log may be incomplete");
    if ((await call("dns.ask", { name: "ns.lab.test", type: "A" })) !== null) answered += 1;
  }
}

function matchesName(name: string, pattern: string): boolean {
  return pattern.startsWith("*.") ? name.endsWith(pattern.slice(1)) : name === pattern;
}
