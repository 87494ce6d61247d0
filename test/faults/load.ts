import { sleepMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";

/** What clients saw while faults happened. */
export interface LoadReport {
  /** Attempts at what every policy of the run allows, and how many succeeded. */
  readonly allowed: { readonly tried: number; readonly connected: number };
  /** Attempts at what no policy of the run allows. */
  readonly denied: { readonly tried: number };
  /** A line for each denied attempt that succeeded, and for whatever left the gateway for denied things. */
  readonly leaks: readonly string[];
}

export interface Load {
  /** Ends the load and returns what it saw. */
  stop(): Promise<LoadReport>;
}

const TIMEOUT_MS = 1_000;
const PAUSE_MS = 10;

/** Clients that keep opening connections, allowed and denied, by name and by address, over both families, until told to stop. */
export async function startLoad(lab: Lab, allowedName: string): Promise<Load> {
  await lab.mark();
  const deniedAddresses = [...lab.names["denied.test"].v4, ...lab.names["denied.test"].v6];
  const seen = { tried: 0, connected: 0, denied: 0 };
  const leaks: string[] = [];
  let isOn = true;

  const keepOpening = async (client: ReturnType<Lab["client"]>, targets: readonly string[], family: 4 | 6) => {
    while (isOn) {
      const allowed = await client.connect(allowedName, 443, { family, timeoutMs: TIMEOUT_MS });
      seen.tried += 1;
      if (allowed.outcome === "connected") seen.connected += 1;
      for (const target of targets) {
        const denied = await client.connect(target, 443, { family, timeoutMs: TIMEOUT_MS });
        seen.denied += 1;
        if (denied.outcome === "connected") leaks.push(`${new Date().toISOString()} ${target} was reached`);
      }
      // Often enough to hit every gap, and not so often that the gateway has no processor left.
      await sleepMs(PAUSE_MS);
    }
  };
  const loops = [
    keepOpening(lab.client("agent1"), ["www.denied.test", ...deniedAddresses.filter((a) => !a.includes(":"))], 4),
    keepOpening(lab.client("agent2"), ["www.denied.test", ...deniedAddresses.filter((a) => a.includes(":"))], 6),
  ];
  return {
    stop: async () => {
      isOn = false;
      await Promise.all(loops);
      for (const address of deniedAddresses) {
        const { packets } = await lab.packets({ to: address });
        if (packets > 0) leaks.push(`${packets} packets to ${address} left the gateway`);
      }
      const queries = await lab.queries({ name: "*.denied.test" });
      if (queries.length > 0) leaks.push(`${queries.length} queries below denied.test left the gateway`);
      const { tried, connected, denied } = seen;
      return { allowed: { tried, connected }, denied: { tried: denied }, leaks };
    },
  };
}
