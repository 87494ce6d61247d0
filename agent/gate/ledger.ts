import {
  createGrantTable,
  type Grant,
  type GrantTable,
  grantOf,
  type LiveGrant,
  liveKey,
  putLive,
  withHours,
} from "./grant-table.ts";
import type { KernelChange } from "./kernel-change.ts";
import type { PinOwner } from "./pin-owner.ts";
import type { ClassRange } from "./pin-plan.ts";

/*
 * What the gate has put into the kernel, and why. Times are seconds of a monotonic clock; the kernel's timeouts
 * run on the same one. No I/O here: every function changes the ledger and returns the changes for the kernel.
 */

/** An element of a pin map: the grant it carries and when the kernel drops it. */
export interface PinElement {
  readonly grant: number;
  readonly expiresS: number;
}

/** One address that an owner was given. */
export interface PinnedAddress {
  readonly family: 4 | 6;
  /** Names that were answered with it → until when their answer holds; the last answered one is the last. */
  readonly names: Map<string, number>;
  /** Port class → element in the kernel. */
  readonly elements: Map<number, PinElement>;
}

export interface Ledger {
  readonly grants: GrantTable;
  /** Owner → answered address. */
  readonly owners: Map<PinOwner, Map<string, PinnedAddress>>;
  /** Elements over all owners, and of each; changed by `countPins` alone. */
  pins: number;
  readonly pinsOf: Map<PinOwner, number>;
}

/** How a client may reach a name under the policy in force: its group's mark, and the classes with their ranges. */
export interface NameAccess {
  readonly groupMark: number;
  readonly groupName: string;
  readonly classes: readonly ClassRange[];
  /** Seconds until its hours end or it expires; missing: never. */
  readonly endsInS?: number;
}

/** What reconciling asks of a policy. */
export interface PolicyView {
  /** Null when the owner may not resolve the name. */
  accessOf(owner: PinOwner, name: string): NameAccess | null;
  /** Whether a name may lead an owner to an address: public, among the name's own answers, or covered by the owner's networks. */
  mayReach(owner: PinOwner, name: string, address: string): boolean;
  /** Whether a group still gives a name this range; false too when the group's mark is another one now. */
  stands(live: LiveGrant): boolean;
  /** Returns the mark of the byte cap that a name counts for with a group, or null. */
  capOf(groupName: string, name: string): number | null;
  /** Returns the schedule that a pair which stands keeps to; undefined: none. */
  hoursOf(live: LiveGrant): number | undefined;
  /** Whether only the time denies a name to an owner: what it was answered is then remembered, for the records. */
  remembers(owner: PinOwner, name: string): boolean;
}

/** The kernel starts to count a moment after the ledger does. */
const KERNEL_LAG_S = 5;

/** Returns an empty ledger. */
export function createLedger(): Ledger {
  return { grants: createGrantTable(), owners: new Map(), pins: 0, pinsOf: new Map() };
}

/** Counts elements that an owner has more, or fewer. */
export function countPins(ledger: Ledger, owner: PinOwner, more: number): void {
  ledger.pins += more;
  const count = (ledger.pinsOf.get(owner) ?? 0) + more;
  if (count === 0) ledger.pinsOf.delete(owner);
  else ledger.pinsOf.set(owner, count);
}

/** Forgets what the kernel has dropped by itself. */
export function sweepExpired(ledger: Ledger, nowS: number): void {
  for (const [owner, own] of ledger.owners) {
    for (const [address, pinned] of own) {
      sweepAddress(ledger, owner, pinned, nowS);
      if (pinned.names.size === 0 && pinned.elements.size === 0) own.delete(address);
    }
    if (own.size === 0) ledger.owners.delete(owner);
  }
}

function sweepAddress(ledger: Ledger, owner: PinOwner, pinned: PinnedAddress, nowS: number): void {
  for (const [portClass, element] of pinned.elements) {
    if (element.expiresS + KERNEL_LAG_S > nowS) continue;
    pinned.elements.delete(portClass);
    countPins(ledger, owner, -1);
  }
  for (const [name, untilS] of pinned.names) if (untilS <= nowS) pinned.names.delete(name);
}

/** Returns the pairs in force of which no element in the kernel is left: they may be taken back when no flow carries them. */
export function unpinnedLive(ledger: Ledger): readonly LiveGrant[] {
  const pinned = new Set<number>();
  for (const own of ledger.owners.values()) {
    for (const { elements } of own.values()) for (const { grant } of elements.values()) pinned.add(grant);
  }
  return [...ledger.grants.live.values()].filter(({ grant }) => !pinned.has(grant.mark));
}

/** A class, and the grant that its flows to a name carry. */
export interface PlannedPin {
  readonly portClass: number;
  readonly grant: Grant;
  readonly hours?: number;
}

/** Returns the grants of a name's classes. */
export function planPins(ledger: Ledger, name: string, access: NameAccess): readonly PlannedPin[] {
  return access.classes.map(({ range, ...plan }) => ({ ...plan, grant: grantOf(ledger.grants, name, range) }));
}

/** Returns the pairs of the access's group and the planned grants that are not in force yet, or at other times, each once. */
export function missingLive(ledger: Ledger, access: NameAccess, planned: readonly PlannedPin[]): readonly LiveGrant[] {
  const missing = new Map<string, LiveGrant>();
  for (const { grant, hours } of planned) {
    const key = liveKey(access.groupMark, grant.mark);
    const known = ledger.grants.live.get(key);
    if (known !== undefined && known.hours === hours) continue;
    missing.set(key, withHours({ groupMark: access.groupMark, groupName: access.groupName, grant }, hours));
  }
  return [...missing.values()];
}

/** Records pairs as in force and returns the changes that make them so. */
export function addLive(ledger: Ledger, added: readonly LiveGrant[]): readonly KernelChange[] {
  return added.flatMap((live) => {
    const before = putLive(ledger.grants, live);
    return before === undefined ? [liveChange("live", live)] : [liveChange("unlive", before), liveChange("live", live)];
  });
}

/** Returns the change that puts a pair in force, or takes it out. */
export function liveChange(kind: "live" | "unlive", { groupMark, grant, hours }: LiveGrant): KernelChange {
  return { kind, group: groupMark, grant: grant.mark, ...(hours === undefined ? {} : { hours }) };
}

/** Where an element belongs. */
export interface PinPlace {
  readonly owner: PinOwner;
  readonly address: string;
  readonly pinned: PinnedAddress;
  readonly portClass: number;
}

/** Records an element that ends at the given time and returns the change. */
export function setElement(ledger: Ledger, place: PinPlace, grant: number, untilS: number, nowS: number): KernelChange {
  const { owner, address, pinned, portClass } = place;
  const before = pinned.elements.get(portClass);
  if (before === undefined) countPins(ledger, owner, 1);
  const timeoutS = Math.max(1, Math.ceil(untilS - nowS));
  pinned.elements.set(portClass, { grant, expiresS: nowS + timeoutS });
  const old = before?.grant ?? grant;
  return { kind: "pin", family: pinned.family, owner, address, portClass, before: old, grant, timeoutS };
}
