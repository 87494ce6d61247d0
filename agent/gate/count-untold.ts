import type { DecisionTally } from "./decision-tally.ts";
import type { DenyRecords } from "./deny-records.ts";
import { createUntoldPackets, type RefusedCounts } from "./untold-packets.ts";

/** What the kernel counted and did not tell, for the records and for the tally. */
export interface CountUntold {
  /** A packet was told, of a client and, where flows are counted, of a flow. */
  told(client: string, flow: string | null): void;
  /** Compares with the kernel's counters. Call every second or two. @throws AgentError HOST_COMMAND */
  compare(): Promise<void>;
}

/**
 * Returns the comparison. The kernel counts by client and by flow. Clients are read first, so that at each look the flows
 * have counted at least as much: what clients have over their flows is what found no room, or has no ports. Both are
 * judged at once when both are read, since a packet that is told in between would be known to one of them only.
 */
export function createCountUntold(options: {
  readonly readClients: () => Promise<RefusedCounts>;
  readonly readFlows: () => Promise<RefusedCounts>;
  readonly records: Pick<DenyRecords, "noteUntold">;
  readonly tally: Pick<DecisionTally, "noteRest">;
  /** Counts packets of a flow of which the kernel told none. */
  readonly noteFlow: (flow: string, count: number) => void;
}): CountUntold {
  const { records, tally } = options;
  /** Client → packets that no flow has counted so far, and the reason of its last one. */
  const rest = new Map<string, { count: number; reason: string }>();
  const clients = createUntoldPackets((client, count) => {
    const reason = records.noteUntold("ip", client, count) ?? "default-deny";
    rest.set(client, { count: (rest.get(client)?.count ?? 0) + count, reason });
  });
  const flows = createUntoldPackets((flow, count) => {
    options.noteFlow(flow, count);
    const client = flow.split(" ")[1] ?? "";
    const known = rest.get(client);
    if (known !== undefined) known.count -= count;
    else rest.set(client, { count: -count, reason: "default-deny" });
  });
  return {
    told: (client, flow) => {
      clients.told(client);
      // What is told without a flow is the client's alone, and the tally has it.
      if (flow !== null) flows.told(flow);
    },
    compare: async () => {
      if (!clients.isDue()) return;
      const clientCounts = await options.readClients();
      const flowCounts = await options.readFlows();
      clients.compare(clientCounts);
      flows.compare(flowCounts);
      for (const [client, { count, reason }] of rest) {
        if (count > 0) tally.noteRest(client, reason, count);
        if (count >= 0) rest.delete(client);
      }
    },
  };
}
