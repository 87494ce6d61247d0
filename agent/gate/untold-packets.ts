/**
 * What the kernel counted of each client but did not tell: it logs within a rate. Its counters and the lines of the log
 * meet here; the difference belongs to the client's records.
 */
export interface UntoldPackets {
  /** A packet of a client was told. */
  told(client: string): void;
  /** Whether a packet was told lately, so that the kernel's counters are worth reading. */
  isDue(): boolean;
  /** Compares with the kernel's counters. Call every second or two while it is due. */
  compare(counts: RefusedCounts): void;
}

/** Client → packets refused; a client that was silent for long is missing, and begins anew with one. */
export type RefusedCounts = ReadonlyMap<string, number>;

interface ClientCount {
  /** The kernel's counter at the last look. */
  kernel: number;
  /** The part of it that is told, or handed on as untold, or older than this gate. */
  settled: number;
  toldSinceLook: number;
}

/** After this many looks without a change nobody looks again until a packet is told. */
const LOOKS_AFTER_LAST = 3;
/** Twice what the kernel holds. */
const MAX_CLIENTS = 16_384;

/** Returns the comparison over the kernel's counters; the first look is where counting begins. */
export function createUntoldPackets(onUntold: (client: string, count: number) => void): UntoldPackets {
  const clients = new Map<string, ClientCount>();
  let isFirst = true;
  let looksLeft = 1;
  const entryOf = (client: string): ClientCount => {
    const known = clients.get(client);
    if (known !== undefined) return known;
    const entry = { kernel: 0, settled: 0, toldSinceLook: 0 };
    if (clients.size < MAX_CLIENTS) clients.set(client, entry);
    return entry;
  };
  return {
    told: (client) => {
      const entry = entryOf(client);
      entry.settled += 1;
      entry.toldSinceLook += 1;
      looksLeft = LOOKS_AFTER_LAST;
    },
    isDue: () => looksLeft > 0,
    compare: (counts) => {
      looksLeft = Math.max(0, looksLeft - 1);
      for (const [client, count] of counts) {
        const entry = entryOf(client);
        if (isFirst) entry.settled = count;
        if (count !== entry.kernel) looksLeft = LOOKS_AFTER_LAST;
        const untold = lookAgain(entry, count);
        if (untold > 0) onUntold(client, untold);
      }
      for (const [client, { kernel }] of clients) if (kernel > 0 && !counts.has(client)) clients.delete(client);
      isFirst = false;
    },
  };
}

/** Returns what is untold by the look before: what was counted since may still be on its way. */
function lookAgain(entry: ClientCount, count: number): number {
  // Fewer than before: the kernel had forgotten the client and began anew.
  if (count < entry.kernel) [entry.kernel, entry.settled] = [0, entry.toldSinceLook];
  const untold = Math.max(0, entry.kernel - entry.settled);
  entry.settled += untold;
  entry.kernel = count;
  entry.toldSinceLook = 0;
  return untold;
}
