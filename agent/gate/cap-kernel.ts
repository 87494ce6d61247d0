import { METER } from "../compile/metering.ts";
import type { Nftables, NftEntry } from "../host/nftables.ts";
import type { CapChange, KernelCaps, KernelQuota } from "./cap-ledger.ts";
import { checkedMark, KERNEL_TABLE } from "./kernel-change.ts";

const PREFIX = "cap_";

/** Returns the counters of byte caps. @throws AgentError HOST_COMMAND when the table is not there. */
export async function readQuotas(nftables: Nftables): Promise<ReadonlyMap<number, KernelQuota>> {
  const quotas = new Map<number, KernelQuota>();
  for (const entry of await nftables.list("quotas", "table", "inet", KERNEL_TABLE)) {
    const { name, bytes, used } = (entry["quota"] ?? {}) as { name?: unknown; bytes?: unknown; used?: unknown };
    const mark = typeof name === "string" ? markOf(name) : null;
    if (mark !== null && typeof bytes === "number" && typeof used === "number") quotas.set(mark, { bytes, used });
  }
  return quotas;
}

/** Returns all that the kernel holds of byte caps but which grants count for them. @throws AgentError HOST_COMMAND */
export async function readCaps(nftables: Nftables): Promise<KernelCaps> {
  const [quotas, links, spent] = await Promise.all([
    readQuotas(nftables),
    nftables.list("map", "inet", KERNEL_TABLE, METER.quota),
    nftables.list("set", "inet", KERNEL_TABLE, METER.spent),
  ]);
  const linked = elementsOf(links, "map").flatMap((pair) => (Array.isArray(pair) ? numbers(pair[0]) : []));
  return { quotas, linked: new Set(linked), spent: new Set(elementsOf(spent, "set").flatMap(numbers)) };
}

/** Makes changes in one transaction: all or nothing. @throws AgentError HOST_COMMAND */
export async function writeCaps(nftables: Nftables, changes: readonly CapChange[]): Promise<void> {
  if (changes.length > 0) await nftables.change(capText(changes));
}

/** Returns changes as text for nft, built from checked numbers alone. @throws RangeError for what is none. */
export function capText(changes: readonly CapChange[]): string {
  return changes.map((change) => `${commandOf(change)}\n`).join("");
}

function commandOf(change: CapChange): string {
  const mark = checkedMark(change.mark);
  const name = `${PREFIX}${mark}`;
  const table = `inet ${KERNEL_TABLE}`;
  switch (change.kind) {
    case "unlink":
      return `delete element ${table} ${METER.quota} { ${mark} }`;
    case "remove":
      return `delete quota ${table} ${name}`;
    case "create":
      return `add quota ${table} ${name} { ${checkedBytes(change.bytes)} bytes used ${checkedBytes(change.used)} bytes }`;
    case "resize":
      return `add quota ${table} ${name} { ${checkedBytes(change.bytes)} bytes }`;
    case "link":
      return `add element ${table} ${METER.quota} { ${mark} : "${name}" }`;
    case "spend":
      return `add element ${table} ${METER.spent} { ${mark} }`;
    case "reopen":
      return `delete element ${table} ${METER.spent} { ${mark} }`;
  }
}

function checkedBytes(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a number of bytes: ${value}`);
  return value;
}

function markOf(name: string): number | null {
  const digits = new RegExp(`^${PREFIX}([0-9]{1,10})$`).exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

function elementsOf(entries: readonly NftEntry[], kind: "map" | "set"): readonly unknown[] {
  const found = entries.find((entry) => entry[kind] !== undefined)?.[kind] as { readonly elem?: readonly unknown[] };
  return found?.elem ?? [];
}

function numbers(value: unknown): readonly number[] {
  return typeof value === "number" ? [value] : [];
}
