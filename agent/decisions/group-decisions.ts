import { compareTexts } from "../policy/compare-texts.ts";
import { type DecisionKey, keyText } from "./decision.ts";
import type { WindowSums } from "./sum-decisions.ts";

/** What decisions amount to. */
export interface Measures {
  /** Questions that were answered, and that were refused. */
  readonly queries: number;
  readonly queriesDenied: number;
  readonly connections: number;
  /** Refused by the proxy of SNI mode. */
  readonly connectionsDenied: number;
  readonly packetsDenied: number;
  /** Let pass by an audit, and would be denied. */
  readonly wouldDeny: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Decisions that a view shows in one row. */
export interface Group extends Measures {
  /** Of the first of them; the view shows only what all have in common. */
  readonly key: DecisionKey;
  readonly firstS: number;
  readonly lastS: number;
  /** What no other group has; made when it is first needed. */
  text: string | null;
}

/** Adds up sums in groups. */
export interface Groups {
  /** Adds what was decided about the key with the number `id`, shown as `key`. */
  add(id: number, key: DecisionKey): void;
  /** In the order in which they came. */
  readonly all: readonly Group[];
  /** All of them together. */
  readonly totals: Measures;
}

type Amounts = { -readonly [measure in keyof Measures]: Measures[measure] };
type GrowingGroup = Amounts & Pick<Group, "key" | "text"> & { firstS: number; lastS: number };

/** Returns groups of the keys with the same text; without `textOf` each key is one of its own. */
export function createGroups(sums: WindowSums, textOf: ((key: DecisionKey) => string) | null): Groups {
  const all: GrowingGroup[] = [];
  const byText = new Map<string, GrowingGroup>();
  const totals: Amounts = { ...nothing };
  const begin = (key: DecisionKey, firstS: number, text: string | null): GrowingGroup => {
    // Written out: an object that is made of copies of others takes the engine many times as long to make and to read.
    const group: GrowingGroup = {
      queries: 0,
      queriesDenied: 0,
      connections: 0,
      connectionsDenied: 0,
      packetsDenied: 0,
      wouldDeny: 0,
      bytesUp: 0,
      bytesDown: 0,
      key,
      firstS,
      lastS: 0,
      text,
    };
    all.push(group);
    return group;
  };
  const groupOf = (key: DecisionKey, firstS: number): GrowingGroup => {
    if (textOf === null) return begin(key, firstS, null);
    const text = textOf(key);
    const known = byText.get(text);
    if (known !== undefined) return known;
    const group = begin(key, firstS, text);
    byText.set(text, group);
    return group;
  };
  return {
    all,
    totals,
    add: (id, key) => {
      const firstS = sums.firstS[id] as number;
      const group = groupOf(key, firstS);
      if (firstS < group.firstS) group.firstS = firstS;
      group.lastS = Math.max(group.lastS, sums.lastS[id] as number);
      const measure = measureOf(key);
      for (const into of [group, totals]) {
        into[measure] += sums.count[id] as number;
        into.bytesUp += sums.bytesUp[id] as number;
        into.bytesDown += sums.bytesDown[id] as number;
      }
    },
  };
}

const nothing: Measures = {
  ...{ queries: 0, queriesDenied: 0, connections: 0, connectionsDenied: 0, packetsDenied: 0, wouldDeny: 0 },
  ...{ bytesUp: 0, bytesDown: 0 },
};

function measureOf({ plane, verdict }: DecisionKey): Exclude<keyof Measures, "bytesUp" | "bytesDown"> {
  if (verdict === "would-deny") return "wouldDeny";
  if (plane === "dns") return verdict === "allow" ? "queries" : "queriesDenied";
  if (verdict === "allow") return "connections";
  return plane === "ip" ? "packetsDenied" : "connectionsDenied";
}

/** The most decisions first, then the most traffic; equal ones by their text, so that the order says nothing by chance. */
export function compareGroups(a: Group, b: Group): number {
  return (
    weightOf(b) - weightOf(a) ||
    b.bytesUp + b.bytesDown - (a.bytesUp + a.bytesDown) ||
    compareTexts(textOfGroup(a), textOfGroup(b))
  );
}

function weightOf(group: Group): number {
  const denied = group.queriesDenied + group.connectionsDenied + group.packetsDenied + group.wouldDeny;
  return denied + group.queries + group.connections;
}

function textOfGroup(group: Group): string {
  group.text ??= keyText(group.key);
  return group.text;
}
