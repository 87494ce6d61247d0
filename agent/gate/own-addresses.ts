import { BlockList } from "node:net";
import { networkInterfaces } from "node:os";

/** The gateway's own addresses and the networks on its links, as of the last refresh. */
export interface OwnAddresses {
  has(address: string): boolean;
  /** Returns whether an address is one of a network that the gateway has an address of itself. */
  isOnLink(address: string): boolean;
  refresh(): void;
}

/** Returns them as they are now. */
export function createOwnAddresses(): OwnAddresses {
  let current = readAddresses();
  return {
    has: (address) => current.own.has(address),
    isOnLink: (address) => current.links.check(address, address.includes(":") ? "ipv6" : "ipv4"),
    refresh: () => {
      current = readAddresses();
    },
  };
}

function readAddresses(): { readonly own: ReadonlySet<string>; readonly links: BlockList } {
  const own = new Set<string>();
  const links = new BlockList();
  for (const { address, cidr, family, internal } of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
    own.add(address);
    const prefix = Number(cidr?.split("/")[1]);
    if (!internal && Number.isInteger(prefix)) links.addSubnet(address, prefix, family === "IPv6" ? "ipv6" : "ipv4");
  }
  return { own, links };
}
