import { addressText4, addressText6 } from "./addresses.ts";

const suffix4 = ".in-addr.arpa";
const suffix6 = ".ip6.arpa";

/**
 * Returns the address that a name in lower case stands for, backwards, in canonical text: all four numbers below
 * in-addr.arpa (RFC 1035 §3.5), all 32 digits below ip6.arpa (RFC 3596 §2.5). Null for any other name.
 */
export function reverseAddress(name: string): string | null {
  if (name.endsWith(suffix4)) {
    const parts = name.slice(0, -suffix4.length).split(".").reverse();
    const isAddress =
      parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256);
    return isAddress ? addressText4(Buffer.from(parts.map(Number)), 0) : null;
  }
  if (!name.endsWith(suffix6)) return null;
  const digits = name.slice(0, -suffix6.length);
  if (!/^[0-9a-f](\.[0-9a-f]){31}$/.test(digits)) return null;
  return addressText6(Buffer.from(digits.split(".").reverse().join(""), "hex"), 0);
}
