import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import type { LabClient } from "../lab/client.ts";
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

/** What allowed attempts came to between two looks. */
export interface Service {
  /** A line for each that failed. */
  readonly failures: readonly string[];
  /** The longest time in which no allowed attempt of a client succeeded. */
  readonly longestGapMs: number;
}

export interface Load {
  /**
   * Resolves with what became of allowed attempts that began since the last look, once those under way are over: what one
   * of them is refused belongs to what was done before, and to nothing that is done next.
   */
  look(): Promise<Service>;
  /** Ends the load and returns what it saw. */
  stop(): Promise<LoadReport>;
}

/** Longer than anything lasts that is allowed to be late on a busy machine. */
const ALLOWED_TIMEOUT_MS = 3_000;
const DENIED_TIMEOUT_MS = 1_000;
const PAUSE_MS = 10;

interface Row {
  readonly who: string;
  readonly allowed: () => Promise<{ readonly outcome: string }>;
  readonly denied: readonly (readonly [what: string, attempt: () => Promise<{ readonly outcome: string }>])[];
}

/**
 * Clients that keep asking for names and opening connections, allowed and denied, by name, by address and through the
 * proxy of SNI mode, over both families, until told to stop.
 */
export async function startLoad(lab: Lab, allowedName: string): Promise<Load> {
  await lab.mark();
  const seen = { tried: 0, connected: 0, denied: 0 };
  const leaks: string[] = [];
  let failures: string[] = [];
  let longestGapMs = 0;
  let isOn = true;
  /** When an allowed attempt of each client succeeded last. */
  const lastMs = new Map<string, number>();
  /** The last allowed attempt of each client, with what is noted of it. */
  const underWay = new Map<string, Promise<void>>();

  const noteGap = (who: string): void => {
    longestGapMs = Math.max(longestGapMs, monotonicMs() - (lastMs.get(who) ?? monotonicMs()));
  };
  const keepOpening = async ({ who, allowed, denied }: Row): Promise<void> => {
    lastMs.set(who, monotonicMs());
    const attemptAllowed = async (): Promise<void> => {
      const startedMs = monotonicMs();
      const { outcome } = await allowed();
      seen.tried += 1;
      if (outcome === "connected") {
        seen.connected += 1;
        noteGap(who);
        lastMs.set(who, monotonicMs());
      } else failures.push(`${who}: ${outcome} after ${Math.round(monotonicMs() - startedMs)} ms`);
    };
    while (isOn) {
      const current = attemptAllowed();
      underWay.set(who, current);
      await current;
      for (const [what, attempt] of denied) {
        seen.denied += 1;
        if ((await attempt()).outcome === "connected") leaks.push(`${new Date().toISOString()} ${what} was reached`);
      }
      // Often enough to hit every gap, and not so often that the gateway has no processor left.
      await sleepMs(PAUSE_MS);
    }
  };
  const rows = rowsOf(lab, allowedName);
  const loops = rows.map(keepOpening);
  return {
    look: async () => {
      await Promise.all(underWay.values());
      for (const who of lastMs.keys()) noteGap(who);
      const service = { failures, longestGapMs };
      failures = [];
      longestGapMs = 0;
      return service;
    },
    stop: async () => {
      isOn = false;
      await Promise.all(loops);
      const { v4, v6 } = lab.names["denied.test"];
      for (const address of [...v4, ...v6]) {
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

function rowsOf(lab: Lab, allowedName: string): readonly Row[] {
  const { v4, v6 } = lab.names["denied.test"];
  const ok = { timeoutMs: ALLOWED_TIMEOUT_MS };
  const no = { timeoutMs: DENIED_TIMEOUT_MS };
  const by = (client: LabClient, family: 4 | 6, addresses: readonly string[]): Pick<Row, "allowed" | "denied"> => ({
    allowed: () => client.connect(allowedName, 443, { family, ...ok }),
    denied: ["www.denied.test", ...addresses].map((target) => [
      target,
      () => client.connect(target, 443, { family, ...no }),
    ]),
  });
  const stray = lab.client("stray");
  const [dialled = ""] = lab.names["a.allowed.test"].v4;
  const otherName = { servername: "www.denied.test", ...no };
  return [
    { who: "agent1 over IPv4", ...by(lab.client("agent1"), 4, v4) },
    { who: "agent2 over IPv6", ...by(lab.client("agent2"), 6, v6) },
    // Nothing else between its attempts: what it does not notice, nobody does.
    { who: "guest", allowed: () => lab.client("guest").connect(allowedName, 443, { family: 4, ...ok }), denied: [] },
    {
      who: "stray through the proxy",
      allowed: () => stray.tls(allowedName, 443, { family: 4, ...ok }),
      denied: [["www.denied.test, dialled as another,", () => stray.tls(dialled, 443, otherName)]],
    },
  ];
}
