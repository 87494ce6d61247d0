/** The fixed plan of every lab: who is where. Labs differ only in the names of their namespaces and their folder. */

/** One end of the lab's network, each in a namespace of its own. */
export type LabNode = "agent1" | "agent2" | "stray" | "guest" | "gateway" | "internet" | "mgmt";

export const nodes: readonly LabNode[] = ["agent1", "agent2", "stray", "guest", "gateway", "internet", "mgmt"];

/** A machine behind the gateway. */
export type ClientNode = "agent1" | "agent2" | "stray" | "guest";

export const clientNodes: readonly ClientNode[] = ["agent1", "agent2", "stray", "guest"];

/** One address of each family. */
export interface Pair {
  readonly v4: string;
  readonly v6: string;
}

/** All addresses that one name has, per family; an empty list means no record of that type. */
export interface NameAddresses {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

/** Returns the n-th service address: documentation ranges of RFC 5737 and RFC 3849. */
function service(n: number): Pair {
  return { v4: `203.0.113.${n}`, v6: `2001:db8:1::${n.toString(16)}` };
}

export const addresses = {
  agent1: { v4: "10.80.0.10", v6: "fd80::10" },
  agent2: { v4: "10.80.0.11", v6: "fd80::11" },
  stray: { v4: "10.80.0.99", v6: "fd80::99" },
  guest: { v4: "10.81.0.10", v6: "fd81::10" },
  /** The gateway as agent1, agent2 and stray see it (bridge `lan0`). */
  lan: { v4: "10.80.0.1", v6: "fd80::1" },
  /** The gateway as guest sees it (`lan1`). */
  guestLan: { v4: "10.81.0.1", v6: "fd81::1" },
  /** The gateway's management side (`mgmt0`) and the machine on it. */
  management: { v4: "10.99.0.1", v6: "fd99::1" },
  admin: { v4: "10.99.0.10", v6: "fd99::10" },
  /** The gateway's outside (`wan0`) and the router beyond. */
  wan: { v4: "198.51.100.2", v6: "2001:db8:ffff::2" },
  internet: { v4: "198.51.100.1", v6: "2001:db8:ffff::1" },
  dns: service(53),
  git: service(80),
  api: service(81),
} as const satisfies { readonly [name: string]: Pair };

/** Address of the gateway that a client uses as default route and resolver. */
export function gatewayOf(node: ClientNode): Pair {
  return node === "guest" ? addresses.guestLan : addresses.lan;
}

/** Port numbers of the services that every service address offers. */
export const ports = {
  http: 80,
  httpAlternative: 8080,
  https: 443,
  tcpEcho: 7000,
  tcpSink: 7002,
  udpEcho: 7001,
} as const;

function both(...pairs: readonly Pair[]): NameAddresses {
  return { v4: pairs.map((pair) => pair.v4), v6: pairs.map((pair) => pair.v6) };
}

function serviceRange(first: number, count: number): readonly Pair[] {
  return Array.from({ length: count }, (_, index) => service(first + index));
}

/** Names with addresses in the lab's DNS, without those under wildcards. */
export const names = {
  "git.lab.test": both(addresses.git),
  "api.lab.test": both(addresses.api),
  "allowed.test": both(service(10)),
  "a.allowed.test": both(service(10)),
  "b.allowed.test": both(service(11)),
  "www.allowed.test": both(service(12)),
  "api.allowed.test": both(service(13)),
  "health.allowed.test": both(service(14)),
  "v6only.allowed.test": { v4: [], v6: [service(15).v6] },
  "v4only.allowed.test": { v4: [service(16).v4], v6: [] },
  /** Does not fit into a UDP answer of 1,232 bytes. */
  "many.allowed.test": both(...serviceRange(160, 80)),
  /** Several addresses with a TTL of 2 s, in random order. */
  "rotate.allowed.test": both(...serviceRange(128, 16)),
  /** Two names on one address, as on a shared CDN. */
  "one.shared.test": both(service(20)),
  "two.shared.test": both(service(20)),
  "e9.cdn2-unlisted.test": both(service(30)),
  "denied.test": both(service(40)),
  "www.denied.test": both(service(40)),
  "signed-denied.test": both(service(41)),
  "www.signed-denied.test": both(service(41)),
  "wild.test": both(service(42)),
  "fresh.test": both(service(43)),
  "signed.test": both(service(44)),
  "www.signed.test": both(service(44)),
  "moving.test": both(service(50)),
  /** The names of the policy that README shows. */
  "api.openai.com": both(service(70)),
  "www.openai.com": both(service(71)),
  "api.anthropic.com": both(service(72)),
} as const satisfies { readonly [name: string]: NameAddresses };

export type LabName = keyof typeof names;

/** Names whose answers point where no policy entry of names may lead. */
export const hostileNames: { readonly [name: string]: NameAddresses } = {
  "rebind.allowed.test": { v4: [addresses.lan.v4], v6: [addresses.lan.v6] },
  "neighbour.allowed.test": { v4: [addresses.agent2.v4], v6: [addresses.agent2.v6] },
  "admin.allowed.test": { v4: [addresses.admin.v4], v6: [addresses.admin.v6] },
  "wan.allowed.test": { v4: [addresses.wan.v4], v6: [addresses.wan.v6] },
  "meta.allowed.test": { v4: ["169.254.169.254"], v6: ["fd00:ec2::254"] },
  "loop.allowed.test": { v4: ["127.0.0.1"], v6: ["::1"] },
  "link.allowed.test": { v4: ["169.254.1.1"], v6: ["fe80::1"] },
  "zero.allowed.test": { v4: ["0.0.0.0"], v6: ["::"] },
  "broadcast.allowed.test": { v4: ["255.255.255.255"], v6: ["ff02::1"] },
  "shared-space.allowed.test": { v4: ["100.64.0.1"], v6: [] },
  "private.allowed.test": { v4: ["192.168.1.1", "172.16.0.1"], v6: ["fd12:3456::1"] },
  "mapped.allowed.test": { v4: [], v6: ["::ffff:10.80.0.1"] },
  "nat64.allowed.test": { v4: [], v6: ["64:ff9b::a50:1"] },
  "sixtofour.allowed.test": { v4: [], v6: ["2002:a50:1::1"] },
  /** One public and one private address in the same answer. */
  "mixed.allowed.test": { v4: [service(12).v4, addresses.lan.v4], v6: [service(12).v6, addresses.lan.v6] },
};

/** Zones under which every name resolves, to the address of the zone's own entry in `names`. */
export const wildcardZones: readonly LabName[] = [
  "wild.test",
  "denied.test",
  "signed-denied.test",
  "fresh.test",
  "signed.test",
];

/** Service addresses that have UDP sockets and are assigned one by one; TCP services answer on the whole ranges. */
export const serviceAddresses: readonly Pair[] = [
  10, 11, 12, 13, 14, 15, 16, 20, 30, 40, 41, 42, 43, 44, 50, 53, 80, 81,
].map(service);
