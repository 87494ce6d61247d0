import { type Address, cidrRange } from "./cidr.ts";
import { buildPatternTable, findNameRules } from "./name-table.ts";
import type { Denials, NameDenial, NamePattern, NetworkDenial } from "./policy.ts";
import { buildPrefixTable } from "./prefix-table.ts";
import type { Instant } from "./schedules.ts";

/** Finds what denies a name or an address at an instant; an unknown one is before every expiry. */
export interface DenialTable {
  /** Returns the most specific entry that denies a name, or null. */
  findName(name: string, at: Instant): NameDenial | null;
  findAddress(address: Address, at: Instant): NetworkDenial | null;
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
    findName: (name, at) => findNameRules(names, name).find((denial) => denies(denial, at)) ?? null,
    findAddress: (address, at) => networks.find(address).find((denial) => denies(denial, at)) ?? null,
    coversPattern: ({ kind, name }) =>
      findNameRules(names, kind === "exact" ? name : `*.${name}`).some(({ expiresS }) => expiresS === undefined),
  };
}

/** A denial lasts until it is sure that it has ended. */
function denies({ expiresS }: { readonly expiresS?: number }, at: Instant): boolean {
  return expiresS === undefined || typeof at !== "number" || at < expiresS;
}
