import { type AddressRange, cidrRange, parseCidr } from "./cidr.ts";
import { mergeRanges } from "./ranges.ts";

/**
 * Addresses that no gateway forwards to whatever a policy says: they mean this machine, this link, many receivers, or
 * a platform's metadata service (which would hand the gateway's own credentials to a client). Sources: RFC 6890 and
 * its registry; the metadata addresses are from the manuals of AWS, Azure and Alibaba Cloud.
 */
const neverForwarded: readonly (readonly [network: string, what: string])[] = [
  ["0.0.0.0/8", "this network"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local and metadata services"],
  ["192.0.0.0/24", "protocol assignments"],
  ["168.63.129.16/32", "a metadata service"],
  ["100.100.100.200/32", "a metadata service"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved or broadcast"],
  ["::/128", "unspecified"],
  ["::1/128", "loopback"],
  ["::ffff:0:0/96", "IPv4-mapped"],
  ["fd00:ec2::254/128", "a metadata service"],
  ["fe80::/10", "link-local"],
  ["ff00::/8", "multicast"],
];

interface SpecialRange extends AddressRange {
  readonly what: string;
}

const specialRanges: readonly SpecialRange[] = neverForwarded.map(([network, what]) => {
  if (network === "::ffff:0:0/96") {
    // Not writable as a network of a policy, where it is refused in favour of its IPv4 form.
    return { family: 6, first: 0xffff_0000_0000n, last: 0xffff_ffff_ffffn, what };
  }
  return { ...readRange(network), what };
});

function readRange(network: string): AddressRange {
  const parsed = parseCidr(network);
  if (!parsed.ok) throw new RangeError(parsed.message);
  return cidrRange(parsed.value);
}

/** Returns the ranges that no entry opens and that overlap a range. */
export function findSpecialRanges(range: AddressRange): readonly SpecialRange[] {
  return specialRanges.filter(
    (special) => special.family === range.family && special.first <= range.last && range.first <= special.last,
  );
}

/** Where organisations number their own machines: RFC 1918, RFC 6598, RFC 4193, and the local-use prefix of RFC 8215. */
const privateNetworks: readonly AddressRange[] = [
  "10.0.0.0/8",
  "100.64.0.0/10",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "64:ff9b:1::/48",
  "fc00::/7",
].map(readRange);

/** IPv6 networks whose addresses lead to an IPv4 address inside them (RFC 6052, 3056, 4380), and old site-local ones (RFC 3879). */
const disguises: readonly AddressRange[] = ["64:ff9b::/96", "2002::/16", "2001::/32", "fec0::/10"].map(readRange);

/** What an audit does not open to somebody who asks for no name: sorted, disjoint. */
export const closedInAudit: readonly AddressRange[] = mergeRanges([...specialRanges, ...privateNetworks, ...disguises]);

/** Returns whether a range lies within one private network. */
export function isPrivateRange(range: AddressRange): boolean {
  return privateNetworks.some(
    ({ family, first, last }) => family === range.family && first <= range.first && range.last <= last,
  );
}
