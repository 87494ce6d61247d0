import { randomUUID } from "node:crypto";
import { commonDetails, type Denial } from "../gate/deny-record.ts";
import type { Plane } from "../policy/reasons.ts";
import type { JudgedBy } from "./proxy-judge.ts";

/**
 * Returns a look at the proxy's counters of connections that it closed at the door; each look hands on what came since the
 * one before, by plane and client. No line tells of them: a flood of them costs the proxy nothing but the count.
 */
export function createClosedWatch(
  read: () => Promise<ReadonlyMap<string, number>>,
  onClosed: (plane: Plane, client: string, count: number) => Promise<void>,
): () => Promise<void> {
  let known: ReadonlyMap<string, number> | null = null;
  return async () => {
    const counts = await read().catch(() => null);
    const before = known;
    // All that a proxy counts which comes later is new; what one had counted before the first look is an earlier agent's.
    known = counts ?? new Map();
    if (counts === null || before === null) return;
    for (const [key, count] of counts) {
      const had = before.get(key) ?? 0;
      const [plane = "", client = ""] = key.split(" ");
      // Fewer than before: the proxy had forgotten the client and began anew.
      const more = count < had ? count : count - had;
      if (more > 0) await onClosed(plane as Plane, client, more);
    }
  };
}

/** Returns the denial of connections that were closed before anything of them was read. */
export function closedDenial(plane: Plane, client: string, judged: JudgedBy | null): Denial {
  const who = judged === null ? null : judged.decider.clientOf(client);
  return {
    ...{ plane, reason: "proxy-rate", client, target: "" },
    describe: () => ({
      ...commonDetails("close", who, null, judged === null ? null : { provenance: judged }),
      ...{ port: plane === "tls" ? 443 : 80, protocol: "tcp", proxy: { id: randomUUID(), ...nothingRead } },
    }),
  };
}

const nothingRead = {
  ...{ clientPort: 0, status: null, bytesUp: 0, bytesDown: 0 },
  ...{ connectMs: -1, ms: 0, end: null, ech: false },
};
