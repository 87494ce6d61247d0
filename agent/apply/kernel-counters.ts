import { denyCounters } from "../compile/nft-refuse.ts";
import { AgentError, type Json } from "../errors.ts";
import { BASE_TABLE, listJson, POLICY_TABLE } from "./kernel.ts";

/* What the kernel has counted since the tables were first loaded. */

/**
 * Returns how many packets each counter of `denyCounters` has counted since the tables were first loaded, or null when
 * they do not stand or may not be read.
 */
export async function readDenyCounters(): Promise<{ readonly [name: string]: number } | null> {
  try {
    const counts: { [name: string]: number } = {};
    for (const [table, names] of Object.entries(denyCounters)) {
      for (const entry of await listJson([], ["list", "counters", "table", "inet", table])) {
        const { name, packets } = (entry["counter"] ?? {}) as { readonly name?: Json; readonly packets?: Json };
        const known = names.find((candidate) => candidate === name);
        if (known !== undefined && typeof packets === "number") counts[known] = packets;
      }
    }
    return counts;
  } catch (error) {
    if (error instanceof AgentError) return null;
    throw error;
  }
}

/** Returns the elements of a set, with their counters. @throws AgentError HOST_COMMAND when it is not there */
export async function readCountedSet(table: "base" | "policy", name: string): Promise<readonly Json[]> {
  const tableName = table === "base" ? BASE_TABLE : POLICY_TABLE;
  const entries = await listJson([], ["list", "set", "inet", tableName, name]);
  const set = entries.find((entry) => entry["set"] !== undefined)?.["set"];
  return (set as { readonly elem?: readonly Json[] } | undefined)?.elem ?? [];
}

/** Returns the packets of a counter of the base table. @throws AgentError HOST_COMMAND when it is not there */
export async function readBaseCounter(name: string): Promise<number> {
  const entries = await listJson([], ["list", "counter", "inet", BASE_TABLE, name]);
  const { packets } = (entries.find((entry) => entry["counter"] !== undefined)?.["counter"] ?? {}) as {
    packets?: Json;
  };
  if (typeof packets === "number") return packets;
  throw new AgentError("HOST_COMMAND", `nft lists no counter ${name}`);
}
