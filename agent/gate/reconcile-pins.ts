import { dropLive, forgetUnused, type LiveGrant, liveKey, withHours } from "./grant-table.ts";
import type { GroupMoves } from "./group-moves.ts";
import type { KernelChange } from "./kernel-change.ts";
import {
  addLive,
  countPins,
  type Ledger,
  liveChange,
  missingLive,
  type PinnedAddress,
  type PolicyView,
  planPins,
  setElement,
  sweepExpired,
} from "./ledger.ts";
import type { PinOwner } from "./pin-owner.ts";

export interface Reconciled {
  readonly changes: readonly KernelChange[];
  /** Pairs that came into force, for the journal. */
  readonly added: readonly LiveGrant[];
}

/**
 * Makes the ledger agree with a policy and returns the changes: pins and grants that are no longer allowed go, kept
 * names are pinned under the classes of the new policy, and where a pin's name went, another name of the address takes it.
 */
export function reconcile(ledger: Ledger, view: PolicyView, nowS: number): Reconciled {
  const changes: KernelChange[] = [];
  const added: LiveGrant[] = [];
  const fresh: KernelChange[] = [];
  const put = (missing: readonly LiveGrant[]): void => {
    fresh.push(...addLive(ledger, missing));
    added.push(...missing);
  };
  for (const live of ledger.grants.live.values()) {
    if (!view.stands(live)) {
      dropLive(ledger.grants, live);
      changes.push(liveChange("unlive", live));
      continue;
    }
    const hours = view.hoursOf(live);
    // The same flows at other times: they go on without a pause.
    if (hours !== live.hours) changes.push(...addLive(ledger, [withHours(live, hours)]));
  }
  sweepExpired(ledger, nowS);
  for (const [owner, own] of ledger.owners) {
    for (const [address, pinned] of own) {
      changes.push(...reconcileAddress(ledger, view, { owner, address, pinned }, put, nowS));
      if (pinned.names.size === 0) own.delete(address);
    }
    if (own.size === 0) ledger.owners.delete(owner);
  }
  changes.push(...fresh);
  forgetUnused(ledger.grants);
  return { changes, added };
}

/** Beyond, flows of clients whose group changes may stall for the moment between the kernel's turn and the gate's. */
const MAX_ANTICIPATED = 100_000;

/**
 * Returns the pairs of groups that clients leave for the groups that they come to, as far as the next policy gives them
 * there and they are not in force: put in force before the kernel moves the clients, so that running flows go on.
 */
export function anticipateLive(ledger: Ledger, next: PolicyView, moves: GroupMoves): readonly LiveGrant[] {
  if (moves.size === 0) return [];
  const missing = new Map<string, LiveGrant>();
  let asked = 0;
  for (const { groupMark: from, grant } of ledger.grants.live.values()) {
    for (const target of moves.get(from) ?? []) {
      const key = liveKey(target.groupMark, grant.mark);
      if (ledger.grants.live.has(key) || missing.has(key)) continue;
      asked += 1;
      if (asked > MAX_ANTICIPATED) return [...missing.values()];
      const moved = { ...target, grant };
      if (next.stands(moved)) missing.set(key, withHours(moved, next.hoursOf(moved)));
    }
  }
  return [...missing.values()];
}

interface PinnedPlace {
  readonly owner: PinOwner;
  readonly address: string;
  readonly pinned: PinnedAddress;
}

function reconcileAddress(
  ledger: Ledger,
  view: PolicyView,
  at: PinnedPlace,
  put: (missing: readonly LiveGrant[]) => void,
  nowS: number,
): readonly KernelChange[] {
  const changes: KernelChange[] = [];
  const { owner, address, pinned } = at;
  const wanted = wantedElements(ledger, view, at, put, nowS);
  for (const [portClass, element] of pinned.elements) {
    if (wanted.has(portClass)) continue;
    pinned.elements.delete(portClass);
    countPins(ledger, owner, -1);
    changes.push({ kind: "unpin", family: pinned.family, owner, address, portClass, before: element.grant });
  }
  for (const [portClass, { grant, untilS }] of wanted) {
    if (pinned.elements.get(portClass)?.grant === grant) continue;
    changes.push(setElement(ledger, { ...at, portClass }, grant, untilS, nowS));
  }
  return changes;
}

interface Wanted {
  readonly grant: number;
  readonly untilS: number;
}

/** Returns port class → element for the names that are still allowed, and forgets the others. The last answered name wins. */
function wantedElements(
  ledger: Ledger,
  view: PolicyView,
  at: PinnedPlace,
  put: (missing: readonly LiveGrant[]) => void,
  nowS: number,
): ReadonlyMap<number, Wanted> {
  const wanted = new Map<number, Wanted>();
  for (const [name, untilS] of at.pinned.names) {
    const access = view.mayReach(at.owner, name, at.address) ? view.accessOf(at.owner, name) : null;
    if (access === null) {
      if (!view.remembers(at.owner, name)) at.pinned.names.delete(name);
      continue;
    }
    const planned = planPins(ledger, name, access);
    put(missingLive(ledger, access, planned));
    const endS = Math.min(untilS, nowS + (access.endsInS ?? Number.POSITIVE_INFINITY));
    for (const { portClass, grant } of planned) {
      const other = wanted.get(portClass)?.untilS ?? 0;
      wanted.set(portClass, { grant: grant.mark, untilS: Math.max(endS, other) });
    }
  }
  return wanted;
}
