import { NAME_GRANT_MAX, NAME_GRANT_MIN } from "../compile/marks.ts";
import type { PortRange } from "../policy/policy.ts";
import type { CapPair } from "./cap-pairs.ts";
import { adoptGrant, clearLive, type Grant, type LiveGrant, liveKey, putLive, withHours } from "./grant-table.ts";
import type { KernelChange } from "./kernel-change.ts";
import { countPins, type Ledger } from "./ledger.ts";
import type { PinOwner } from "./pin-owner.ts";

/** An element of a pin map as the kernel has it. */
export interface KernelPin {
  readonly family: 4 | 6;
  readonly owner: PinOwner;
  readonly address: string;
  readonly portClass: number;
  readonly grant: number;
  readonly expiresInS: number;
}

export interface KernelState {
  readonly pins: readonly KernelPin[];
  readonly live: readonly { readonly group: number; readonly grant: number; readonly hours?: number }[];
  readonly capPairs: readonly CapPair[];
}

/** A line of the journal: a pair that came into force. */
export interface JournalEntry {
  readonly grant: number;
  readonly groupMark: number;
  readonly group: string;
  readonly name: string;
  readonly range: PortRange;
}

/**
 * Makes the ledger agree with what the kernel has and returns the changes that take away what nobody can explain:
 * pairs of names that no journal line tells (a grant without a name could never be taken back by a policy), and pins of such grants.
 * Pairs of networks belong to the apply and are left alone.
 */
export function restoreLedger(
  ledger: Ledger,
  kernel: KernelState,
  journal: readonly JournalEntry[],
  nowS: number,
): readonly KernelChange[] {
  const told = new Map<string, LiveGrant>(ledger.grants.live);
  for (const entry of journal) {
    const grant: Grant = { mark: entry.grant, name: entry.name, range: entry.range };
    if (!adoptGrant(ledger.grants, grant)) continue;
    const live = { groupMark: entry.groupMark, groupName: entry.group, grant };
    told.set(liveKey(entry.groupMark, entry.grant), live);
  }
  const changes: KernelChange[] = [];
  clearLive(ledger.grants);
  for (const pair of kernel.live) {
    const { group, grant } = pair;
    if (grant < NAME_GRANT_MIN || grant > NAME_GRANT_MAX) continue;
    const live = told.get(liveKey(group, grant));
    if (live === undefined) changes.push({ kind: "unlive", ...pair });
    else putLive(ledger.grants, withHours(live, pair.hours));
  }
  changes.push(...restorePins(ledger, kernel.pins, nowS));
  return changes;
}

function restorePins(ledger: Ledger, pins: readonly KernelPin[], nowS: number): readonly KernelChange[] {
  const changes: KernelChange[] = [];
  for (const own of ledger.owners.values()) for (const { elements } of own.values()) elements.clear();
  ledger.pins = 0;
  ledger.pinsOf.clear();
  for (const { family, owner, address, portClass, grant, expiresInS } of pins) {
    const known = ledger.grants.byMark.get(grant);
    if (known === undefined) {
      changes.push({ kind: "unpin", family, owner, address, portClass, before: grant });
      continue;
    }
    const own = ledger.owners.get(owner) ?? new Map();
    ledger.owners.set(owner, own);
    const pinned = own.get(address) ?? { family, names: new Map(), elements: new Map() };
    own.set(address, pinned);
    pinned.elements.set(portClass, { grant, expiresS: nowS + expiresInS });
    countPins(ledger, owner, 1);
    if (!pinned.names.has(known.name)) pinned.names.set(known.name, nowS + expiresInS);
  }
  return changes;
}
