import fc from "fast-check";
import { expect, test } from "vitest";
import { createCountUntold } from "../../../agent/gate/count-untold.ts";

const count = (counts: Map<string, number>, id: string): void => {
  counts.set(id, (counts.get(id) ?? 0) + 1);
};

/**
 * A kernel that counts every packet by client, and by flow as long as there is room, and tells some: what it tells is on
 * its way until it is delivered.
 */
function bench(room: number) {
  const clients = new Map<string, number>();
  const flows = new Map<string, number>();
  const sums = { refused: 0, told: 0, flows: 0, rest: 0 };
  const onTheWay: { readonly client: string; readonly flow: string | null }[] = [];
  const deliver = (): void => {
    for (const { client, flow } of onTheWay.splice(0)) untold.told(client, flow);
  };
  const untold = createCountUntold({
    readClients: async () => new Map(clients),
    readFlows: async () => {
      // Lines do not wait while the counters are read.
      const counts = new Map(flows);
      deliver();
      return counts;
    },
    records: { noteUntold: () => "ip-not-allowed" },
    tally: {
      noteRest: (_client, _reason, more) => {
        sums.rest += more;
      },
    },
    noteFlow: (_flow, more) => {
      sums.flows += more;
    },
  });
  const refuse = (client: string, port: number | null, isTold: boolean): void => {
    const flow = port === null ? null : `forward ${client} 192.0.2.1 tcp ${port} wan0`;
    sums.refused += 1;
    count(clients, client);
    if (flow !== null && (flows.has(flow) || flows.size < room)) count(flows, flow);
    if (!isTold) return;
    onTheWay.push({ client, flow });
    sums.told += 1;
  };
  return { untold, refuse, deliver, sums };
}

test("what is told, what is counted by flow and what is left add up to what was refused", async () => {
  const packet = fc.record({
    client: fc.constantFrom("10.0.0.1", "10.0.0.2"),
    port: fc.option(fc.integer({ min: 1, max: 6 })),
    isTold: fc.boolean(),
    isDelivered: fc.boolean(),
  });
  const looks = fc.array(fc.array(packet, { maxLength: 20 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(looks, fc.integer({ min: 0, max: 8 }), async (packetsOfLooks, room) => {
      const { untold, refuse, deliver, sums } = bench(room);
      await untold.compare();
      for (const packets of packetsOfLooks) {
        for (const { client, port, isTold, isDelivered } of packets) {
          refuse(client, port, isTold);
          if (isDelivered) deliver();
        }
        await untold.compare();
      }
      // Nobody looks for packets that came while nothing was told for long; one that is told wakes it.
      refuse("10.0.0.1", null, true);
      deliver();
      for (let look = 0; look < 4; look++) await untold.compare();
      expect(sums.told + sums.flows + sums.rest).toBe(sums.refused);
    }),
    { numRuns: 300 },
  );
});
