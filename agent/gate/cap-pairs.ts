import type { LiveGrant } from "./grant-table.ts";
import { liveKey } from "./grant-table.ts";
import type { KernelChange } from "./kernel-change.ts";

/** An element of the kernel's map from grants to byte caps. */
export interface CapPair {
  readonly group: number;
  readonly grant: number;
  /** Of the cap. */
  readonly mark: number;
}

/** Returns the mark of the cap that a name counts for with a group, or null. */
export type CapOf = (groupName: string, name: string) => number | null;

/** Which grants in force count for which byte cap. Like the ledger: every call changes it and returns what the kernel must be told. */
export interface CapPairs {
  /** For grants that come into force. */
  add(added: readonly LiveGrant[], capOf: CapOf): readonly KernelChange[];
  /** For all grants in force, by a policy. */
  reconcile(live: Iterable<LiveGrant>, capOf: CapOf): readonly KernelChange[];
  /** Takes over what the kernel holds. */
  restore(pairs: readonly CapPair[]): void;
}

/** Returns pairs that know of none. */
export function createCapPairs(): CapPairs {
  const pairs = new Map<string, CapPair>();
  const put = ({ groupMark, groupName, grant }: LiveGrant, capOf: CapOf): readonly KernelChange[] => {
    const key = liveKey(groupMark, grant.mark);
    const before = pairs.get(key);
    const mark = capOf(groupName, grant.name);
    if (mark === (before?.mark ?? null)) return [];
    if (mark === null) return before === undefined ? [] : [drop(key, before)];
    pairs.set(key, { group: groupMark, grant: grant.mark, mark });
    return [{ kind: "cap", group: groupMark, grant: grant.mark, before: before?.mark ?? mark, mark }];
  };
  const drop = (key: string, { group, grant, mark }: CapPair): KernelChange => {
    pairs.delete(key);
    return { kind: "uncap", group, grant, before: mark };
  };
  return {
    add: (added, capOf) => added.flatMap((live) => put(live, capOf)),
    reconcile: (live, capOf) => {
      const all = [...live];
      const keys = new Set(all.map(({ groupMark, grant }) => liveKey(groupMark, grant.mark)));
      const gone = [...pairs].filter(([key]) => !keys.has(key)).map(([key, pair]) => drop(key, pair));
      return [...gone, ...all.flatMap((one) => put(one, capOf))];
    },
    restore: (found) => {
      pairs.clear();
      for (const pair of found) pairs.set(liveKey(pair.group, pair.grant), pair);
    },
  };
}
