import { isLinkLocal } from "./addresses.ts";

/**
 * Whose pin it is: a client, by its address; or everyone of a group, as `#` and the group's mark. A client that asks over
 * IPv4 for an IPv6 address (or the reverse) will use another address of its own that nobody here knows, so such an
 * answer is pinned to its group: to those who may ask for the same names themselves, and to nobody else. The same goes
 * for one that asks from a link-local address, from which nothing is ever forwarded.
 */
export type PinOwner = string;

/** Returns who owns a pin of an address of a family that a client was given. */
export function ownerOf(client: string, groupMark: number, family: 4 | 6): PinOwner {
  const isOwnAddress = client.includes(":") === (family === 6) && !isLinkLocal(client);
  return isOwnAddress ? client : groupOwner(groupMark);
}

/** Returns the owner of the elements of a group. */
export function groupOwner(groupMark: number): PinOwner {
  return `#${groupMark}`;
}

/** Returns the mark of the group that owns a pin, or null when a client does. */
export function groupMarkOf(owner: PinOwner): number | null {
  return owner.startsWith("#") ? Number(owner.slice(1)) : null;
}
