import { type Address, cidrRange } from "./cidr.ts";
import { buildPatternTable, findNameRules } from "./name-table.ts";
import type { Denials, NameDenial, NamePattern, NetworkDenial } from "./policy.ts";
import { buildPrefixTable } from "./prefix-table.ts";

/** Finds what denies a name or an address at an instant; null: whatever the time, so that nothing has expired. */
export interface DenialTable {
  /** Returns the most specific entry that denies a name, or null. */
  findName(name: string, nowS: number | null): NameDenial | null;
  findAddress(address: Address, nowS: number | null): NetworkDenial | null;
  /** Returns whether every name of a pattern is denied for ever. */
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
    findName: (name, nowS) => findNameRules(names, name).find((denial) => isInForce(denial, nowS)) ?? null,
    findAddress: (address, nowS) => networks.find(address).find((denial) => isInForce(denial, nowS)) ?? null,
    coversPattern: ({ kind, name }) =>
      findNameRules(names, kind === "exact" ? name : `*.${name}`).some(({ expiresS }) => expiresS === undefined),
  };
}

/** Returns whether an entry has not expired at an instant; null: whatever the time. */
export function isInForce({ expiresS }: { readonly expiresS?: number }, nowS: number | null): boolean {
  return expiresS === undefined || nowS === null || nowS < expiresS;
}
