import { nameGrantText } from "../compile/grants.ts";
import { assignMark, NAME_GRANT_MAX, NAME_GRANT_MIN } from "../compile/marks.ts";
import type { PortRange } from "../policy/policy.ts";

/** What a grant's number stands for. One number serves every group; what is in force is the pair of group and number. */
export interface Grant {
  readonly mark: number;
  readonly name: string;
  readonly range: PortRange;
}

/** A pair in force: in the kernel's set `live`, or at times in its map `name_hours`. */
export interface LiveGrant {
  readonly groupMark: number;
  readonly groupName: string;
  readonly grant: Grant;
  /** The schedule that it keeps to: then it is in the map `name_hours`; missing: it is in the set `live`. */
  readonly hours?: number;
}

/** Returns a pair that keeps to another schedule, or to none. */
export function withHours({ groupMark, groupName, grant }: LiveGrant, hours: number | undefined): LiveGrant {
  return { groupMark, groupName, grant, ...(hours === undefined ? {} : { hours }) };
}

/** The numbers given to (name, range), and the pairs in force. */
export interface GrantTable {
  readonly byText: Map<string, Grant>;
  readonly byMark: Map<number, Grant>;
  /** Key: `liveKey`. Changed by `putLive` and `dropLive` alone. */
  readonly live: Map<string, LiveGrant>;
  /** Group's mark → how many pairs it has in force. */
  readonly liveOf: Map<number, number>;
}

/** Returns an empty table. */
export function createGrantTable(): GrantTable {
  return { byText: new Map(), byMark: new Map(), live: new Map(), liveOf: new Map() };
}

/** Records a pair as in force; one that it replaces is returned. */
export function putLive(table: GrantTable, live: LiveGrant): LiveGrant | undefined {
  const key = liveKey(live.groupMark, live.grant.mark);
  const before = table.live.get(key);
  table.live.set(key, live);
  if (before === undefined) table.liveOf.set(live.groupMark, (table.liveOf.get(live.groupMark) ?? 0) + 1);
  return before;
}

/** Records that no pair is in force. */
export function clearLive({ live, liveOf }: GrantTable): void {
  live.clear();
  liveOf.clear();
}

/** Records that a pair is not in force any more. */
export function dropLive(table: GrantTable, { groupMark, grant }: LiveGrant): void {
  if (!table.live.delete(liveKey(groupMark, grant.mark))) return;
  const left = (table.liveOf.get(groupMark) ?? 1) - 1;
  if (left === 0) table.liveOf.delete(groupMark);
  else table.liveOf.set(groupMark, left);
}

export function liveKey(groupMark: number, grantMark: number): string {
  return `${groupMark}.${grantMark}`;
}

/** Returns the grant of a name and a range, and gives it a number if it has none. The number depends on the two alone, unless it is taken. */
export function grantOf(table: GrantTable, name: string, range: PortRange): Grant {
  const text = nameGrantText(name, range);
  const known = table.byText.get(text);
  if (known !== undefined) return known;
  const mark = assignMark(text, NAME_GRANT_MIN, NAME_GRANT_MAX, (taken) => table.byMark.has(taken));
  const grant: Grant = { mark, name, range };
  table.byText.set(text, grant);
  table.byMark.set(mark, grant);
  return grant;
}

/** Takes a grant from a journal as it is. Returns false when its number stands for something else already. */
export function adoptGrant(table: GrantTable, grant: Grant): boolean {
  const text = nameGrantText(grant.name, grant.range);
  const sameMark = table.byMark.get(grant.mark);
  if (sameMark !== undefined) return nameGrantText(sameMark.name, sameMark.range) === text;
  if (table.byText.has(text)) return false;
  table.byText.set(text, grant);
  table.byMark.set(grant.mark, grant);
  return true;
}

/** Forgets the numbers that no pair in force uses. */
export function forgetUnused(table: GrantTable): void {
  const used = new Set<number>();
  for (const { grant } of table.live.values()) used.add(grant.mark);
  for (const [text, grant] of table.byText) {
    if (used.has(grant.mark)) continue;
    table.byText.delete(text);
    table.byMark.delete(grant.mark);
  }
}
