import { forgetUnused, type LiveGrant } from "./grant-table.ts";
import type { KernelChange } from "./kernel-change.ts";
import {
  addLive,
  type Ledger,
  missingLive,
  type NameAccess,
  type PinnedAddress,
  type PlannedPin,
  planPins,
  setElement,
} from "./ledger.ts";
import { groupMarkOf, ownerOf, type PinOwner } from "./pin-owner.ts";
import { pinTimeoutS } from "./pin-plan.ts";
import type { AnsweredAddress } from "./wire-answer.ts";

export interface Bounds {
  /** Of a machine, whatever addresses it takes. */
  readonly maxPinsPerClient: number;
  /** A client asks for its whole group over the other address family: one must not use up what all groups share. */
  readonly maxPinsPerGroup: number;
  readonly maxPins: number;
  /** When more than half of all pins are taken, a machine is given more up to these. */
  readonly sparedPins: number;
  readonly maxLiveGrants: number;
  /** Fewer than all of them, so that no group takes those of the others. */
  readonly maxLiveGrantsPerGroup: number;
}

/** An element is written anew when the kernel would drop it less than this after the client's answer ends. */
const REFRESH_MARGIN_S = 10;

export interface PinRequest {
  readonly client: string;
  /** The addresses of its machine, its own among them. */
  readonly siblings: readonly string[];
  readonly name: string;
  readonly access: NameAccess;
  readonly addresses: readonly AnsweredAddress[];
}

export type PinResult =
  | { readonly ok: true; readonly changes: readonly KernelChange[]; readonly added: readonly LiveGrant[] }
  | { readonly ok: false; readonly bound: "pins" | "grants" };

/**
 * Records an answer and returns what the kernel must hold before the client may have it; nothing when all of it is
 * there for long enough. A pin shared by two names goes to the one that is answered now, and never gets shorter by it.
 * Over a bound nothing changes.
 */
export function pinAnswer(ledger: Ledger, request: PinRequest, bounds: Bounds, nowS: number): PinResult {
  const { name, access } = request;
  const planned = planPins(ledger, name, access);
  const added = missingLive(ledger, access, planned);
  if (added.length > 0 && isOverGrants(ledger, access.groupMark, added.length, bounds)) {
    // The numbers just given to a refused name must not pile up.
    if (ledger.grants.byText.size > 2 * bounds.maxLiveGrants) forgetUnused(ledger.grants);
    return { ok: false, bound: "grants" };
  }
  const parts = splitByOwner(ledger, request);
  if (isOverBound(ledger, parts, { planned, siblings: request.siblings }, bounds)) return { ok: false, bound: "pins" };
  const changes: KernelChange[] = [...addLive(ledger, added)];
  for (const part of parts) {
    changes.push(
      ...pinPart(ledger, part, { name, planned, endS: nowS + (access.endsInS ?? Number.POSITIVE_INFINITY) }, nowS),
    );
    ledger.owners.set(part.owner, part.own);
  }
  return { ok: true, changes, added };
}

/** The addresses of one family in an answer, and who they are pinned to. */
interface Part {
  readonly owner: PinOwner;
  /** What the owner has already. */
  readonly own: Map<string, PinnedAddress>;
  readonly answered: ReadonlyMap<string, AnsweredAddress>;
}

function splitByOwner(ledger: Ledger, { client, access, addresses }: PinRequest): readonly Part[] {
  return ([4, 6] as const).flatMap((family) => {
    const answered = longestOfEach(addresses.filter((address) => address.family === family));
    if (answered.size === 0) return [];
    const owner = ownerOf(client, access.groupMark, family);
    return [{ owner, own: ledger.owners.get(owner) ?? new Map(), answered }];
  });
}

function isOverGrants({ grants }: Ledger, groupMark: number, more: number, bounds: Bounds): boolean {
  const ofGroup = (grants.liveOf.get(groupMark) ?? 0) + more;
  return ofGroup > bounds.maxLiveGrantsPerGroup || grants.live.size + more > bounds.maxLiveGrants;
}

function isOverBound(
  ledger: Ledger,
  parts: readonly Part[],
  { planned, siblings }: { readonly planned: readonly PlannedPin[]; readonly siblings: readonly string[] },
  bounds: Bounds,
): boolean {
  let total = 0;
  for (const { owner, own, answered } of parts) {
    const fresh = countFresh(own, answered.keys(), planned);
    if (fresh === 0) continue;
    total += fresh;
    const pinsOf = (of: PinOwner): number => ledger.pinsOf.get(of) ?? 0;
    const isGroup = groupMarkOf(owner) !== null;
    const held = isGroup ? pinsOf(owner) : siblings.reduce((sum, sibling) => sum + pinsOf(sibling), 0);
    const isScarce = !isGroup && ledger.pins + total > bounds.maxPins / 2;
    const most = isGroup ? bounds.maxPinsPerGroup : bounds.maxPinsPerClient;
    if (held + fresh > (isScarce ? Math.min(most, bounds.sparedPins) : most)) return true;
  }
  return total > 0 && ledger.pins + total > bounds.maxPins;
}

interface Opened {
  readonly name: string;
  readonly planned: readonly PlannedPin[];
  /** When the hours of the name end: no pin outlives them. */
  readonly endS: number;
}

function pinPart(
  ledger: Ledger,
  { owner, own, answered }: Part,
  { name, planned, endS }: Opened,
  nowS: number,
): readonly KernelChange[] {
  const changes: KernelChange[] = [];
  for (const [address, { family, ttlS }] of answered) {
    const pinned: PinnedAddress = own.get(address) ?? { family, names: new Map(), elements: new Map() };
    own.set(address, pinned);
    const untilS = nowS + pinTimeoutS(ttlS);
    const heldUntilS = pinned.names.get(name) ?? 0;
    pinned.names.delete(name);
    pinned.names.set(name, Math.max(heldUntilS, untilS));
    for (const { portClass, grant } of planned) {
      const before = pinned.elements.get(portClass);
      const neededS = Math.min(nowS + ttlS + REFRESH_MARGIN_S, endS - 1);
      if (before?.grant === grant.mark && before.expiresS > neededS) continue;
      const place = { owner, address, pinned, portClass };
      const keptS = Math.max(Math.min(untilS, endS), before?.expiresS ?? 0);
      changes.push(setElement(ledger, place, grant.mark, keptS, nowS));
    }
  }
  return changes;
}

/** Returns how many elements are not there yet. */
function countFresh(
  own: ReadonlyMap<string, PinnedAddress>,
  addresses: Iterable<string>,
  planned: readonly PlannedPin[],
): number {
  let fresh = 0;
  for (const address of addresses) {
    const elements = own.get(address)?.elements;
    for (const { portClass } of planned) if (elements?.has(portClass) !== true) fresh += 1;
  }
  return fresh;
}

/** An answer may repeat an address with other times; a key may stand in a transaction only once. */
function longestOfEach(addresses: readonly AnsweredAddress[]): ReadonlyMap<string, AnsweredAddress> {
  const longest = new Map<string, AnsweredAddress>();
  for (const answered of addresses) {
    const known = longest.get(answered.address);
    if (known === undefined || known.ttlS < answered.ttlS) longest.set(answered.address, answered);
  }
  return longest;
}
