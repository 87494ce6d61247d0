import { addressBits, type Family, formatAddress } from "../policy/cidr.ts";
import type { ChainParts } from "./chain-parts.ts";
import { markToken, numberToken } from "./tokens.ts";

/** The group of the client: by its own address, else by the range that it is in, else the global one. */
export function classifyRules(
  { globalGroup }: Pick<ChainParts, "globalGroup">,
  side: "saddr" | "daddr",
  mark: "meta mark" | "ct mark" = "meta mark",
): readonly string[] {
  return [
    `${mark} set ip ${side} map @client4`,
    `${mark} set ip6 ${side} map @client6`,
    `${mark} 0x00000000 ${mark} set ip ${side} map @group4`,
    `${mark} 0x00000000 ${mark} set ip6 ${side} map @group6`,
    `${mark} 0x00000000 ${mark} set ${markToken(globalGroup)}`,
  ];
}

export function networkRules(parts: ChainParts, farAddress: "daddr" | "saddr"): readonly string[] {
  return [
    ...parts.prefixLengths4.map((length) => networkRule(4, length, farAddress)),
    ...parts.prefixLengths6.map((length) => networkRule(6, length, farAddress)),
  ];
}

/**
 * One hash lookup for each prefix length, the longest first, instead of one in an interval map: with two fields of
 * exact values beside the interval, that one took 13 s to load with 30,000 elements and 54 s to reload, this 0.4 s.
 * Once a grant is found, its high bits keep the rules for shorter prefixes from finding another.
 */
function networkRule(family: Family, prefixLength: number, farAddress: "daddr" | "saddr"): string {
  const { field, mask, lengthMark } = prefixParts(family, prefixLength, farAddress);
  return `ct mark set meta mark . (${field} & ${mask}) . (ct mark | ${lengthMark}) map @net${family}`;
}

export function prefixParts(
  family: Family,
  prefixLength: number,
  farAddress: "daddr" | "saddr",
): { readonly field: string; readonly mask: string; readonly lengthMark: string } {
  return {
    field: family === 4 ? `ip ${farAddress}` : `ip6 ${farAddress}`,
    mask: formatAddress({ family, value: prefixMask(family, prefixLength) }),
    lengthMark: markToken(prefixLength * 0x1_0000),
  };
}

function prefixMask(family: Family, prefixLength: number): bigint {
  const bits = addressBits(family);
  numberToken(prefixLength, 0, bits);
  return (1n << BigInt(bits)) - (1n << BigInt(bits - prefixLength));
}
