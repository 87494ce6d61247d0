import { type Address, cidrRange } from "./cidr.ts";
import { buildPatternTable, findNameRules } from "./name-table.ts";
import type { Denials, NameDenial, NamePattern, NetworkDenial } from "./policy.ts";
import { buildPrefixTable } from "./prefix-table.ts";

/** Finds what denies a name or an address. */
export interface DenialTable {
  /** Returns the most specific entry that denies a name, or null. */
  findName(name: string): NameDenial | null;
  findAddress(address: Address): NetworkDenial | null;
  /** Returns whether every name of a pattern is denied. */
  coversPattern(pattern: NamePattern): boolean;
}

const NOTHING: DenialTable = { findName: () => null, findAddress: () => null, coversPattern: () => false };

/** Returns the table of some denials; a call is O(labels) or O(log n). */
export function buildDenialTable(denials: Denials | undefined): DenialTable {
  if (denials === undefined) return NOTHING;
  const names = buildPatternTable(denials.names, (first) => first);
  const networks = buildPrefixTable(
    denials.networks.map((denial) => ({ range: cidrRange(denial.network), value: denial })),
  );
  return {
    findName: (name) => findNameRules(names, name)[0] ?? null,
    findAddress: (address) => networks.findFirst(address),
    coversPattern: ({ kind, name }) =>
      kind === "exact" ? findNameRules(names, name).length > 0 : findNameRules(names, `*.${name}`).length > 0,
  };
}
