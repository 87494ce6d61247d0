import { embeddingPrefixes, specialNetworks } from "../policy/address-kinds.ts";
import { type AddressRange, addressBits, type Family, parseAddress } from "../policy/cidr.ts";
import { mergeRanges } from "../policy/ranges.ts";

/**
 * Returns every address of a family to which no name leads through the proxy: all that is not public, and in IPv6 also
 * what only wraps such an IPv4 address. Sorted and disjoint.
 */
export function closedRanges(family: Family): readonly AddressRange[] {
  const special = specialNetworks.map(([network]) => rangeOf(network));
  const inner = special.filter((range) => range.family === 4);
  const wrapped = embeddingPrefixes.flatMap(({ prefix, bits }) => inner.map((range) => wrap(range, prefix, bits)));
  return mergeRanges([...special, ...wrapped].filter((range) => range.family === family));
}

function rangeOf(network: string): AddressRange {
  const [text = "", length] = network.split("/");
  const { family, value } = read(text);
  const hostBits = BigInt(addressBits(family) - Number(length));
  return { family, first: value, last: value + (1n << hostBits) - 1n };
}

/** The IPv4 address stands behind the prefix; whatever follows it is free. */
function wrap({ first, last }: AddressRange, prefix: string, bits: number): AddressRange {
  const freeBits = BigInt(128 - bits - 32);
  const start = read(prefix).value;
  return { family: 6, first: start + (first << freeBits), last: start + ((last + 1n) << freeBits) - 1n };
}

function read(text: string): { readonly family: Family; readonly value: bigint } {
  const address = parseAddress(text);
  if (address === null) throw new RangeError(`not an address: ${text}`);
  return address;
}
