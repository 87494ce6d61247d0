/**
 * Who may be led to an address by a name. `public`: anyone. `private`: only a client whose networks cover it.
 * `never`: nobody (loopback, link-local, instance metadata, and forms that only disguise another address).
 */
export type AddressKind = "public" | "private" | "never";

/**
 * Networks that are not public; the first that holds an address says what it is. Sources: the IANA special-purpose
 * address registries, and the cloud vendors' manuals for metadata services.
 */
export const specialNetworks: readonly (readonly [network: string, kind: Exclude<AddressKind, "public">])[] = [
  ["0.0.0.0/8", "never"],
  ["127.0.0.0/8", "never"],
  ["169.254.0.0/16", "never"],
  ["100.100.100.200/32", "never"],
  ["168.63.129.16/32", "never"],
  ["192.0.0.192/32", "never"],
  ["10.0.0.0/8", "private"],
  ["100.64.0.0/10", "private"],
  ["172.16.0.0/12", "private"],
  ["192.0.0.0/24", "private"],
  ["192.168.0.0/16", "private"],
  ["224.0.0.0/3", "private"],
  ["fd00:ec2::254/128", "never"],
  ["fd20:ce::254/128", "never"],
  ["::/96", "never"],
  ["::ffff:0:0/96", "never"],
  ["::ffff:0:0:0/96", "never"],
  ["64:ff9b:1::/48", "private"],
  ["2001::/32", "never"],
  ["fc00::/7", "private"],
  ["fe80::/10", "never"],
  ["fec0::/10", "private"],
  ["ff00::/8", "private"],
];

/** IPv6 prefixes behind which an IPv4 address stands, judged as itself: NAT64 (RFC 6052) and 6to4 (RFC 3056). */
export const embeddingPrefixes: readonly { readonly prefix: string; readonly bits: number }[] = [
  { prefix: "64:ff9b::", bits: 96 },
  { prefix: "2002::", bits: 16 },
];
