import { type AddressKind, embeddingPrefixes, specialNetworks } from "../policy/address-kinds.ts";
import { type AddressRange, addressBits, type Family, parseAddress } from "../policy/cidr.ts";
import { mergeRanges } from "../policy/ranges.ts";

/**
 * Returns every address of a family to which no name leads through the proxy (`never`), or only one whose `answers`
 * cover it (`private`); in IPv6 also what only wraps such an IPv4 address. Sorted and disjoint. What is in both is never
 * led to: asked in this order they are all that is not public.
 */
export function closedRanges(family: Family, wanted: Exclude<AddressKind, "public">): readonly AddressRange[] {
  const special = specialNetworks.filter(([, kind]) => kind === wanted).map(([network]) => rangeOf(network));
  const wrapped = special.filter((range) => range.family === 4).flatMap(wrapRange);
  return mergeRanges([...special, ...wrapped].filter((range) => range.family === family));
}

/** Returns the IPv6 networks behind whose addresses the addresses of an IPv4 range stand. */
export function wrapRange({ first, last }: AddressRange): readonly AddressRange[] {
  return embeddingPrefixes.map(({ prefix, bits }) => {
    // Whatever follows the IPv4 address is free.
    const freeBits = BigInt(128 - bits - 32);
    const start = read(prefix).value;
    return { family: 6, first: start + (first << freeBits), last: start + ((last + 1n) << freeBits) - 1n };
  });
}

function rangeOf(network: string): AddressRange {
  const [text = "", length] = network.split("/");
  const { family, value } = read(text);
  const hostBits = BigInt(addressBits(family) - Number(length));
  return { family, first: value, last: value + (1n << hostBits) - 1n };
}

function read(text: string): { readonly family: Family; readonly value: bigint } {
  const address = parseAddress(text);
  if (address === null) throw new RangeError(`not an address: ${text}`);
  return address;
}
