/** What tests of the packet path ask over IPv4 and IPv6 alike. */

export const families = [4, 6] as const;

/** Two hosts of the internet side. */
export const target = { v4: "203.0.113.10", v6: "2001:db8:1::a" } as const;
export const other = { v4: "203.0.113.12", v6: "2001:db8:1::c" } as const;

/** Returns the address of a family. */
export function at(pair: { readonly v4: string; readonly v6: string }, family: 4 | 6): string {
  return family === 4 ? pair.v4 : pair.v6;
}

/** A refusal comes at once; whoever waits longer was dropped. */
export const quick = { timeoutMs: 1_000 };
export const refused = { outcome: "refused" };
