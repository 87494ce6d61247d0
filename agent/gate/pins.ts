import type { AppendLog } from "../host/append-log.ts";
import { type CapOf, createCapPairs } from "./cap-pairs.ts";
import { dropLive, type LiveGrant, liveKey } from "./grant-table.ts";
import type { GroupMoves } from "./group-moves.ts";
import { journalLine } from "./journal.ts";
import type { KernelChange } from "./kernel-change.ts";
import type { KernelWriter } from "./kernel-writer.ts";
import {
  addLive,
  createLedger,
  type Ledger,
  liveChange,
  type PolicyView,
  sweepExpired,
  unpinnedLive,
} from "./ledger.ts";
import { type Bounds, type PinRequest, pinAnswer } from "./pin-answer.ts";
import { groupOwner, ownerOf, type PinOwner } from "./pin-owner.ts";
import { anticipateLive, reconcile } from "./reconcile-pins.ts";
import { type JournalEntry, type KernelState, restoreLedger } from "./restore-ledger.ts";

export type PinOutcome = "pinned" | "over-bound" | "failed";

/** The ledger together with the kernel that it describes. */
export interface Pins {
  readonly ledger: Ledger;
  /** Returns the names that a client was answered with an address, and that still hold. */
  namesOf(client: string, group: number | null, address: string): readonly string[];
  /** Resolves when every address of an answer is open to its client, or says why it is not. Never rejects. */
  pin(request: PinRequest): Promise<PinOutcome>;
  /** Puts in force what the next policy gives to clients whose group changes, before the kernel takes it. @throws AgentError as `activate` */
  anticipate(next: PolicyView, moves: GroupMoves): Promise<void>;
  /** Puts a policy in force in one transaction. @throws AgentError HOST_COMMAND; then the kernel is as it was, and the ledger waits for `recover`. */
  activate(view: PolicyView): Promise<void>;
  /** Takes over what an earlier gate left in the kernel, then makes it agree with a policy. @throws AgentError */
  recover(journal: readonly JournalEntry[], view: PolicyView): Promise<void>;
  /** Resolves when no write is under way. */
  drain(): Promise<void>;
  /** Forgets what expired; collects grants without pins and flows when their bound comes near. Call every few seconds. */
  tidy(): Promise<void>;
  /** How many grants `tidy` has collected. */
  collectedGrants(): number;
}

export interface PinsOptions {
  readonly writer: KernelWriter;
  readonly readKernel: () => Promise<KernelState>;
  readonly readFlowMarks: () => Promise<ReadonlySet<number>>;
  readonly journal: AppendLog;
  readonly bounds: Bounds;
  readonly nowS: () => number;
  /** Told when a write failed: the ledger no longer agrees with the kernel until `recover`. */
  readonly onMismatch: (error: unknown) => void;
}

/** Collecting begins at this share of the bound of grants. */
const COLLECT_SHARE = 0.9;

/** Returns pins over an empty ledger. */
export function createPins(options: PinsOptions): Pins {
  const { writer, journal, bounds, nowS } = options;
  const ledger = createLedger();
  /** The last write of an owner that is under way: a second answer that needs nothing new must still wait for the first one's. */
  const underWay = new Map<PinOwner, Promise<boolean>>();

  const capPairs = createCapPairs();
  let capOf: CapOf = () => null;
  let isRecovering = false;
  let collected = 0;

  const noteLive = (added: readonly LiveGrant[]): void => {
    for (const live of added) journal.append(journalLine(live));
  };
  const writeOrThrow = async (added: readonly LiveGrant[], changes: readonly KernelChange[]): Promise<void> => {
    try {
      noteLive(added);
      await writer.write(changes);
    } catch (error) {
      options.onMismatch(error);
      throw error;
    }
  };
  const write = async (added: readonly LiveGrant[], changes: readonly KernelChange[]): Promise<boolean> => {
    try {
      await writeOrThrow(added, changes);
      return true;
    } catch {
      return false;
    }
  };
  const rewriteJournal = (): void => journal.rewrite([...ledger.grants.live.values()].map(journalLine));

  return {
    ledger,
    namesOf: (client, group, address) => {
      const owners = group === null ? [client] : [client, groupOwner(group)];
      const known = owners.flatMap((owner) => [...(ledger.owners.get(owner)?.get(address)?.names ?? [])]);
      const holding = known.filter(([, untilS]) => untilS > nowS()).map(([name]) => name);
      return [...new Set(holding)].sort();
    },
    pin: async (request) => {
      if (isRecovering) return "failed";
      const result = pinAnswer(ledger, request, bounds, nowS());
      if (!result.ok) return "over-bound";
      const owners = ([4, 6] as const).map((family) => ownerOf(request.client, request.access.groupMark, family));
      if (result.changes.length === 0) {
        const written = await Promise.all(owners.map((owner) => underWay.get(owner) ?? true));
        return written.every(Boolean) ? "pinned" : "failed";
      }
      const written = write(result.added, [...result.changes, ...capPairs.add(result.added, capOf)]);
      for (const owner of owners) underWay.set(owner, written);
      const isWritten = await written;
      for (const owner of owners) if (underWay.get(owner) === written) underWay.delete(owner);
      return isWritten ? "pinned" : "failed";
    },
    anticipate: async (next, moves) => {
      const added = anticipateLive(ledger, next, moves);
      if (added.length > 0) await writeOrThrow(added, addLive(ledger, added));
    },
    activate: async (view) => {
      const { changes, added } = reconcile(ledger, view, nowS());
      capOf = view.capOf;
      const counted = capPairs.reconcile(ledger.grants.live.values(), capOf);
      await writeOrThrow(added, [...changes, ...counted]);
    },
    recover: async (entries, view) => {
      isRecovering = true;
      try {
        await writer.drain();
        const kernel = await options.readKernel();
        const unknown = restoreLedger(ledger, kernel, entries, nowS());
        await writer.write(unknown);
        const { changes } = reconcile(ledger, view, nowS());
        capOf = view.capOf;
        capPairs.restore(kernel.capPairs);
        const counted = capPairs.reconcile(ledger.grants.live.values(), capOf);
        rewriteJournal();
        await writer.write([...changes, ...counted]);
      } finally {
        isRecovering = false;
      }
    },
    drain: () => writer.drain(),
    collectedGrants: () => collected,
    tidy: async () => {
      sweepExpired(ledger, nowS());
      if (ledger.grants.live.size < bounds.maxLiveGrants * COLLECT_SHARE) return;
      const idle = new Set(unpinnedLive(ledger).map(({ groupMark, grant }) => liveKey(groupMark, grant.mark)));
      if (idle.size === 0) return;
      const flowMarks = await options.readFlowMarks();
      // Without a pin before the flows were listed, and none since: no flow can have begun in between.
      const unused = unpinnedLive(ledger).filter(
        ({ groupMark, grant }) => idle.has(liveKey(groupMark, grant.mark)) && !flowMarks.has(grant.mark),
      );
      collected += unused.length;
      for (const live of unused) dropLive(ledger.grants, live);
      const changes = unused.map((live) => liveChange("unlive", live));
      const uncounted = capPairs.reconcile(ledger.grants.live.values(), capOf);
      if (await write([], [...changes, ...uncounted])) rewriteJournal();
    },
  };
}
