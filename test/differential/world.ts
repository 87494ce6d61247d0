import { hostileNames, type NameAddresses, names } from "../lab/addresses.ts";

/** What random policies and flows are about: names of the lab, and addresses of its internet side. */

export type Family = 4 | 6;

/** A name that may be asked for, all its addresses, and the names that its answer goes by. */
export interface KnownName {
  readonly name: string;
  readonly addresses: NameAddresses;
  readonly aliases: readonly string[];
}

const plain = (name: keyof typeof names): KnownName => ({ name, addresses: names[name], aliases: [] });
const below = (name: string, zone: keyof typeof names): KnownName => ({ name, addresses: names[zone], aliases: [] });

export const knownNames: readonly KnownName[] = [
  plain("a.allowed.test"),
  plain("b.allowed.test"),
  plain("www.allowed.test"),
  plain("api.allowed.test"),
  plain("v4only.allowed.test"),
  plain("v6only.allowed.test"),
  plain("one.shared.test"),
  plain("two.shared.test"),
  plain("denied.test"),
  plain("www.denied.test"),
  plain("wild.test"),
  below("x.wild.test", "wild.test"),
  below("deep.x.wild.test", "wild.test"),
  below("y.fresh.test", "fresh.test"),
  plain("www.signed.test"),
  {
    name: "www.chain.test",
    addresses: names["e9.cdn2-unlisted.test"],
    aliases: ["edge.cdn-unlisted.test", "e9.cdn2-unlisted.test"],
  },
  {
    name: "private.allowed.test",
    addresses: hostileNames["private.allowed.test"] ?? { v4: [], v6: [] },
    aliases: [],
  },
  { name: "meta.allowed.test", addresses: hostileNames["meta.allowed.test"] ?? { v4: [], v6: [] }, aliases: [] },
];

/** Patterns that may stand in a policy. */
export const namePatterns: readonly string[] = [
  ...knownNames.map(({ name }) => name),
  "*.allowed.test",
  "*.wild.test",
  "*.x.wild.test",
  "*.denied.test",
  "*.fresh.test",
  "*.shared.test",
  "*.cdn-unlisted.test",
  "e9.cdn2-unlisted.test",
  "none.allowed.test",
];

const service = (n: number, family: Family): string =>
  family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n.toString(16)}`;

const numbers = [10, 11, 12, 13, 16, 20, 30, 40, 42, 43, 44, 60, 61, 62, 63, 64, 90, 127, 128, 200, 254];

/** Addresses that flows go to without a name: of services, of networks' edges, private and never forwarded ones. */
export const targetAddresses: { readonly [family in Family]: readonly string[] } = {
  4: [...numbers.map((n) => service(n, 4)), "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200"],
  6: [...numbers.map((n) => service(n, 6)), "fd12:3456::1", "fd00:ec2::254", "64:ff9b::cb00:710a"],
};

/** Of these, the ones on which something answers datagrams. */
export const datagramAddresses: { readonly [family in Family]: readonly string[] } = {
  4: [10, 11, 12, 13, 16, 20, 30, 40, 42, 43, 44].map((n) => service(n, 4)),
  6: [10, 11, 12, 13, 20, 30, 40, 42, 43, 44].map((n) => service(n, 6)),
};

/** Networks that may stand in a policy. */
export const networks: readonly string[] = [
  ...["203.0.113.0/24", "203.0.113.0/25", "203.0.113.32/27", "203.0.113.60/30", "203.0.113.60/31", "203.0.113.62/32"],
  ...["203.0.113.10/32", "203.0.113.40/32", "203.0.113.128/25", "192.168.0.0/16", "172.16.0.0/12", "0.0.0.0/0"],
  ...["2001:db8:1::/64", "2001:db8:1::/122", "2001:db8:1::3c/126", "2001:db8:1::3c/127", "2001:db8:1::3e/128"],
  ...["2001:db8:1::a/128", "2001:db8:1::28/128", "2001:db8:1::80/121", "fd12:3456::/32", "::/0"],
];

export const tcpPorts: readonly number[] = [22, 80, 443, 7000, 8080, 9000];
export const udpPorts: readonly number[] = [443, 7001];

/** Machines behind the gateway, new ones for every policy: nobody has a past. */
export interface Machine {
  readonly v4: string;
  readonly v6: string;
}

export const MACHINES_PER_POLICY = 4;

/** Returns the machines of the n-th policy (0 to 255), and prefixes around them, the narrow ones first. */
export function machinesOf(n: number): { readonly machines: readonly Machine[]; readonly prefixes: readonly string[] } {
  const hosts = [10, 20, 130, 200];
  const [net4, net6] = [`10.82.${n}`, `fd82::${n.toString(16)}`];
  return {
    machines: hosts.map((host) => ({ v4: `${net4}.${host}`, v6: `${net6}:${host.toString(16)}` })),
    prefixes: [
      ...hosts.flatMap((host) => [`${net4}.${host}/32`, `${net6}:${host.toString(16)}/128`]),
      ...[`${net4}.0/27`, `${net4}.0/25`, `${net4}.128/25`, `${net4}.0/24`, "10.82.0.0/16", "10.0.0.0/8"],
      ...[`${net6}:0/123`, `${net6}:0/121`, `${net6}:80/121`, `${net6}:0/112`, "fd82::/64", "fd00::/8"],
    ],
  };
}
