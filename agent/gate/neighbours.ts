import {
  FLAG_DUMP,
  findAttribute,
  NETLINK_ROUTE,
  NLMSG_DONE,
  NLMSG_ERROR,
  openNetlink,
  requestHeader,
} from "../host/netlink.ts";
import { addressText4, addressText6 } from "./addresses.ts";

/* The neighbours that the kernel knows, as linux/rtnetlink.h and linux/neighbour.h have them. */
const NEW_NEIGHBOUR = 28;
const GET_NEIGHBOUR = 30;
/** netlink's header and that of a neighbour: family, interface, state, flags, type. */
const HEADER_BYTES = 16 + 12;
const EVERY_FAMILY = 0;
const DESTINATION = 1;
const LINK_ADDRESS = 2;

/** Address → link address, of machines on the gateway's own links. */
export type Neighbours = ReadonlyMap<string, string>;

/** Returns a reader of the kernel's neighbours, which takes about a millisecond for a thousand. @throws AgentError HOST_MISSING */
export async function openNeighbours(): Promise<() => Neighbours> {
  const socket = await openNetlink({ protocol: NETLINK_ROUTE });
  return () => {
    while (socket.receive() !== null); // what an earlier list has left behind
    const neighbours = new Map<string, string>();
    socket.send(requestHeader(GET_NEIGHBOUR, FLAG_DUMP, 1, EVERY_FAMILY, HEADER_BYTES));
    // The kernel lists on within the call; what it cannot tell to the end is known in part.
    for (let datagram = socket.receive(); datagram !== null; datagram = socket.receive()) {
      if (addNeighbours(datagram, neighbours)) break;
    }
    return neighbours;
  };
}

/** Adds the neighbours in a datagram of the list; returns whether it is the last one. */
export function addNeighbours(bytes: Buffer, neighbours: Map<string, string>): boolean {
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const type = bytes.readUInt16LE(at + 4);
    const end = at + length;
    if (length < 16 || end > bytes.length || type === NLMSG_DONE || type === NLMSG_ERROR) return true;
    if (type === NEW_NEIGHBOUR && length >= HEADER_BYTES) {
      const address = findAttribute(bytes, at, end, DESTINATION, HEADER_BYTES);
      const link = findAttribute(bytes, at, end, LINK_ADDRESS, HEADER_BYTES);
      const text = address === null ? null : addressText(bytes, address.at, address.length);
      // One that does not answer has none; neither has a link without addresses of its own.
      if (text !== null && link?.length === 6) {
        neighbours.set(text, bytes.toString("hex", link.at, link.at + link.length));
      }
    }
    at += (length + 3) & ~3;
  }
  return false;
}

function addressText(bytes: Buffer, at: number, length: number): string | null {
  if (length === 4) return addressText4(bytes, at);
  return length === 16 ? addressText6(bytes, at) : null;
}
