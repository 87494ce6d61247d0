import { METER } from "../compile/metering.ts";
import { refusedFlowSets, refusedSets } from "../compile/nft-refuse.ts";
import { AgentError } from "../errors.ts";
import type { Nftables } from "../host/nftables.ts";
import { addressBytes } from "./addresses.ts";
import { KERNEL_TABLE } from "./kernel-change.ts";
import { groupOwner } from "./pin-owner.ts";
import { parseFlowCounts } from "./refused-flows.ts";
import type { KernelPin, KernelState } from "./restore-ledger.ts";

/** Returns what the gate's maps hold in the kernel. @throws AgentError HOST_COMMAND when the table is not there. */
export async function readKernelState(nftables: Nftables): Promise<KernelState> {
  const listElements = elementLister(nftables);
  const pins: KernelPin[] = [];
  for (const family of [4, 6] as const) {
    for (const map of [`pin${family}`, `group_pin${family}`]) {
      pins.push(...(await listElements("map", map)).flatMap(toPin(family)));
    }
  }
  const live = await listElements("set", "live");
  const capPairs = await listElements("map", METER.capOf);
  const timed = await listElements("map", "name_hours");
  return {
    pins,
    capPairs: capPairs.flatMap((entry) => {
      const [element, mark] = Array.isArray(entry) ? (entry as readonly unknown[]) : [];
      const [group, grant] = keyOf(element) ?? [];
      if (typeof group !== "number" || typeof grant !== "number" || typeof mark !== "number") return [];
      return [{ group, grant, mark }];
    }),
    live: [
      ...live.flatMap((element) => toPair(element, null)),
      ...timed.flatMap((entry) => (Array.isArray(entry) ? toPair(entry[0], entry[1]) : [])),
    ],
  };
}

function toPair(element: unknown, hours: unknown): KernelState["live"] {
  const [group, grant] = keyOf(element) ?? [];
  if (typeof group !== "number" || typeof grant !== "number") return [];
  return [{ group, grant, ...(typeof hours === "number" ? { hours } : {}) }];
}

/** Returns whether a set of the policy table has elements. @throws AgentError HOST_COMMAND when the table is not there. */
export async function isSetFilled(nftables: Nftables, set: string): Promise<boolean> {
  return (await elementLister(nftables)("set", set)).length > 0;
}

/** Returns how many packets of each client were refused, as the base table counts them. @throws AgentError HOST_COMMAND */
export async function readRefusedCounts(nftables: Nftables): Promise<ReadonlyMap<string, number>> {
  const listElements = elementLister(nftables);
  const counts = new Map<string, number>();
  for (const set of refusedSets) {
    for (const element of await listElements("set", set, "clawgress_base")) {
      const { elem } = element as { elem?: { val?: unknown; counter?: { packets?: unknown } } };
      const [client, packets] = [elem?.val, elem?.counter?.packets];
      if (typeof client === "string" && isAddress(client) && typeof packets === "number") counts.set(client, packets);
    }
  }
  return counts;
}

/** Returns how many packets of each flow of a client were refused, by its name. @throws AgentError HOST_COMMAND */
export async function readRefusedFlows(nftables: Nftables): Promise<ReadonlyMap<string, number>> {
  const listElements = elementLister(nftables);
  const names = Object.values(refusedFlowSets).flat();
  const sets = names.map(async (name) => ({ name, elements: await listElements("set", name, "clawgress_base") }));
  return parseFlowCounts(await Promise.all(sets));
}

type ElementLister = (kind: "map" | "set", name: string, table?: string) => Promise<readonly unknown[]>;

function elementLister(nftables: Nftables): ElementLister {
  return async (kind, name, table = KERNEL_TABLE) => {
    const entries = await nftables.list(kind, "inet", table, name);
    const found = entries.find((entry) => entry[kind] !== undefined)?.[kind] as
      | { readonly elem?: readonly unknown[] }
      | undefined;
    if (found === undefined) throw new AgentError("HOST_COMMAND", `nftables lists no ${kind} ${name}`);
    return found.elem ?? [];
  };
}

/** An element with a timeout stands as `{elem: {val: {concat}, timeout, expires}}`, one without as `{concat}`. */
function keyOf(element: unknown): readonly unknown[] | null {
  const plain = element as { concat?: unknown; elem?: { val?: { concat?: unknown } } } | null;
  const concat = plain?.elem?.val?.concat ?? plain?.concat;
  return Array.isArray(concat) ? concat : null;
}

const toPin =
  (family: 4 | 6) =>
  (entry: unknown): readonly KernelPin[] => {
    if (!Array.isArray(entry)) return [];
    const [element, grant] = entry as readonly unknown[];
    const [first, address, portClass] = keyOf(element) ?? [];
    const owner = typeof first === "number" ? groupOwner(first) : first;
    const expires = (element as { elem?: { expires?: unknown } } | null)?.elem?.expires;
    if (typeof owner !== "string" || !isAddress(address)) return [];
    if (typeof first !== "number" && !isAddress(owner)) return [];
    if (typeof portClass !== "number" || typeof grant !== "number") return [];
    return [{ family, owner, address, portClass, grant, expiresInS: typeof expires === "number" ? expires : 0 }];
  };

function isAddress(value: unknown): value is string {
  return typeof value === "string" && addressBytes(value) !== null;
}
