import type { Neighbours } from "./neighbours.ts";

/**
 * Which machine a client is. One that is on a link of the gateway may take any free address there, and as many as it likes,
 * so what it may use up is counted by its link address; one behind a router is its address.
 */
export interface Machines {
  /** Returns the machine of a client. */
  of(client: string): string;
  /**
   * Returns whom names under wildcards count for: the machine, and one account for all newcomers on the links until the
   * kernel knows theirs, since a new address would be a new bound.
   */
  accountOf(client: string): string;
  /** Returns the addresses that its machine was seen with, itself among them. */
  addressesOf(client: string): readonly string[];
}

export interface MachinesOptions {
  /** Returns the kernel's neighbours; what it throws leaves clients their addresses. */
  readonly read: () => Neighbours;
  readonly isOnLink: (address: string) => boolean;
  readonly nowS: () => number;
}

/** How long the machine of an address is known, and how long that it is behind a router. */
const KNOWN_S = 30;
/** Clients that are new all the time have the kernel asked no oftener. */
const READ_EVERY_S = 0.1;
const MAX_ADDRESSES = 65_536;
const NEWCOMERS = "newcomers";

interface Known {
  readonly machine: string;
  readonly untilS: number;
}

/** Returns machines of which none was seen. */
export function createMachines({ read, isOnLink, nowS }: MachinesOptions): Machines {
  const known = new Map<string, Known>();
  const addresses = new Map<string, Set<string>>();
  let neighbours: Neighbours = new Map();
  let readS = Number.NEGATIVE_INFINITY;
  let isBlind = false;

  const readAgain = (): void => {
    if (nowS() - readS < READ_EVERY_S) return;
    readS = nowS();
    try {
      neighbours = read();
      isBlind = false;
    } catch {
      neighbours = new Map();
      isBlind = true;
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
  const remember = (client: string, machine: string): void => {
    forget(client);
    const [oldest] = known.keys();
    if (known.size >= MAX_ADDRESSES && oldest !== undefined) forget(oldest);
    known.set(client, { machine, untilS: nowS() + KNOWN_S });
    const shared = addresses.get(machine);
    if (shared === undefined) addresses.set(machine, new Set([client]));
    else shared.add(client);
  };
  /** Returns null for one on a link that the kernel does not know yet; it will when it sends the first answer. */
  const find = (client: string): string | null => {
    const last = known.get(client);
    if (last !== undefined && last.untilS > nowS()) return last.machine;
    readAgain();
    // The kernel forgets neighbours that are silent; a machine that was known stays who it was.
    const machine = neighbours.get(client) ?? last?.machine ?? (isBlind || !isOnLink(client) ? client : null);
    if (machine !== null) remember(client, machine);
    return machine;
  };
  return {
    of: (client) => find(client) ?? client,
    accountOf: (client) => find(client) ?? NEWCOMERS,
    addressesOf: (client) => [...(addresses.get(find(client) ?? client) ?? [client])],
  };
}
