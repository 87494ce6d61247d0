import type { Neighbours } from "./neighbours.ts";

/**
 * Which machine a client is. One that is on a link of the gateway may take any free address there, and as many as it likes,
 * so what it may use up is counted by its link address; one behind a router is its address.
 */
export interface Machines {
  /** Returns the machine of a client. */
  of(client: string): string;
  /** Returns the addresses that its machine was seen with, itself among them. */
  addressesOf(client: string): readonly string[];
}

/** How long the machine of an address is known, and how long that it has none. */
const KNOWN_S = 30;
const UNKNOWN_S = 1;
/** Clients that are new all the time have the kernel asked no oftener. */
const READ_EVERY_S = 0.1;
const MAX_ADDRESSES = 65_536;

interface Known {
  readonly machine: string;
  readonly untilS: number;
}

/** Returns machines of which none was seen. `read` returns the kernel's neighbours; what it throws leaves clients their addresses. */
export function createMachines({ read, nowS }: { read: () => Neighbours; nowS: () => number }): Machines {
  const known = new Map<string, Known>();
  const addresses = new Map<string, Set<string>>();
  let neighbours: Neighbours = new Map();
  let readS = Number.NEGATIVE_INFINITY;

  const readAgain = (): void => {
    if (nowS() - readS < READ_EVERY_S) return;
    readS = nowS();
    try {
      neighbours = read();
    } catch {
      neighbours = new Map();
    }
  };
  const forget = (client: string): void => {
    const before = known.get(client);
    if (before === undefined) return;
    known.delete(client);
    const shared = addresses.get(before.machine);
    shared?.delete(client);
    if (shared?.size === 0) addresses.delete(before.machine);
  };
  const remember = (client: string, machine: string, untilS: number): void => {
    forget(client);
    const [oldest] = known.keys();
    if (known.size >= MAX_ADDRESSES && oldest !== undefined) forget(oldest);
    known.set(client, { machine, untilS });
    const shared = addresses.get(machine);
    if (shared === undefined) addresses.set(machine, new Set([client]));
    else shared.add(client);
  };
  const of = (client: string): string => {
    const last = known.get(client);
    if (last !== undefined && last.untilS > nowS()) return last.machine;
    readAgain();
    const link = neighbours.get(client);
    // The kernel forgets neighbours that are silent; a machine that was known stays who it was.
    const machine = link ?? last?.machine ?? client;
    remember(client, machine, nowS() + (link === undefined ? UNKNOWN_S : KNOWN_S));
    return machine;
  };
  return { of, addressesOf: (client) => [...(addresses.get(of(client)) ?? [client])] };
}
