import type { Lab } from "../lab/lab.ts";
import { openGateway } from "../support/open-gateway.ts";
import { enforceOnce, openBenchGateway } from "./gateway.ts";
import { type Measure, withLab } from "./row.ts";
import { percentile } from "./statistics.ts";

/** A SYN that got no answer is sent again after 1,000 ms (RFC 6298 §2.1), so nothing this slow was answered at once. */
const LOST_MS = 900;
/** Turns between both sides: noise of the machine falls on both. */
const BLOCK = 50;

interface Side {
  readonly ms: number[];
  lost: number;
}

/** Names never asked before, each connected to the moment its address is known: ours beside a gateway that lets all pass. */
export const measureConnect: Measure = ({ quick }) =>
  withLab(async (ours) => {
    await enforceOnce(await openBenchGateway(ours));
    return await withLab(async (open) => {
      await openGateway(open);
      const count = quick ? BLOCK : 1_000;
      const sides = [
        { lab: ours, side: { ms: [], lost: 0 } as Side },
        { lab: open, side: { ms: [], lost: 0 } as Side },
      ] as const;
      for (let first = 0; first < count; first += BLOCK) {
        for (const { lab, side } of sides) {
          for (let index = first; index < first + BLOCK; index += 1) await resolveAndConnect(lab, index, side);
        }
      }
      const [{ side: gate }, { side: none }] = sides;
      const how = `${count} fresh names, one after the other, blocks of ${BLOCK} in turns; lost: no connection within ${LOST_MS} ms; the alternative forwards everything and hands DNS to the upstream resolver`;
      const what = "an open gateway";
      return [
        {
          ...{ what: "name → connect, first packets lost", unit: "lost" as const, ours: gate.lost },
          ...{ other: { what, value: none.lost }, goal: "0", how },
        },
        ...([50, 99] as const).map((percent) => ({
          ...{ what: `name → connect, p${percent}`, unit: "ms" as const, ours: percentile(gate.ms, percent / 100) },
          ...{ other: { what, value: percentile(none.ms, percent / 100) }, goal: null, how },
        })),
      ];
    });
  });

async function resolveAndConnect(lab: Lab, index: number, side: Side): Promise<void> {
  const result = await lab.client("agent1").connect(`c${index}.fresh.test`, 80);
  if (result.outcome === "unresolved") throw new Error(`c${index}.fresh.test: ${result.rcode}`);
  side.ms.push(result.ms + (result.resolveMs ?? 0));
  if (result.outcome !== "connected" || result.ms > LOST_MS) side.lost += 1;
}
