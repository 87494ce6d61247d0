import type { DomainEntry } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import { noteLasting } from "./expiring.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { lintName } from "./lints.ts";
import { findListEdits, type ListEdit } from "./list-edits.ts";
import { patternText } from "./pattern-text.ts";
import type { NameRule, Place } from "./policy.ts";
import type { KnownList } from "./policy-memory.ts";

/** A list that is read again. */
interface Reread {
  readonly last: KnownList;
  readonly entries: readonly DomainEntry[];
  readonly edits: readonly ListEdit[];
  readonly pointer: string;
  readonly log: IssueLog;
}

/** With more changes, the list is read as quickly. */
const MAX_CHANGES = 200;

/**
 * Returns a list of names that differs from the last one in a few entries, new, gone or in the place of others, without
 * reading the others; null when there is anything else to it, so that it must be read whole. What comes out is the same.
 * What was known of the last one goes into it.
 */
export function rereadNames(
  last: KnownList,
  entries: readonly DomainEntry[],
  pointer: string,
  log: IssueLog,
): KnownList | null {
  if (!last.isPlain) return null;
  const edits = findListEdits(last.entries, entries);
  if (edits === null) return null;
  const reread: Reread = { last, entries, edits, pointer, log };
  const fresh = edits.flatMap(({ at, added }) => readAdded(reread, at, added));
  const rules = fresh.filter((rule) => rule !== null);
  const gone = new Set(edits.flatMap(({ lastAt, removed }) => [...last.order.subarray(lastAt, lastAt + removed)]));
  if (rules.length < fresh.length || rules.length + gone.size > MAX_CHANGES) return null;
  if (!isEachNew(reread, rules, gone)) return null;
  return putTogether(reread, moveRules(reread), gone, rules);
}

/** Returns the rules of entries that are names and nothing else, and of which nothing is to be said; null for each other. */
function readAdded({ last, entries, pointer, log }: Reread, at: number, added: number): readonly (NameRule | null)[] {
  return entries.slice(at, at + added).map((entry, offset) => {
    const parsed = typeof entry === "string" ? parseDomainPattern(entry) : null;
    if (parsed?.ok !== true) return null;
    const place = log.locate(joinPointer(pointer, at + offset));
    if (hasWarning(parsed.value, place, log)) return null;
    return { pattern: parsed.value, ports: last.ports, label: null, place };
  });
}

function hasWarning(pattern: NameRule["pattern"], place: Place, log: IssueLog): boolean {
  let isWarned = false;
  const note = (): void => {
    isWarned = true;
  };
  lintName(pattern, place, { ...log, warn: note, error: note });
  return isWarned;
}

/** Returns false when a name would stand there twice. */
function isEachNew({ last }: Reread, rules: readonly NameRule[], gone: ReadonlySet<number>): boolean {
  const texts = rules.map(({ pattern }) => patternText(pattern));
  const isFree = (text: string): boolean => {
    const at = placeInOrder(last.sorted, text);
    return last.sorted[at] !== text || gone.has(at);
  };
  return new Set(texts).size === texts.length && texts.every(isFree);
}

/** Returns the rules of the last list, in its order; one that has moved, in the text or among the entries, is a new object. */
function moveRules({ last, edits, pointer, log }: Reread): NameRule[] {
  const names = [...last.names];
  /** The text is that of the entry which stood there. */
  const pointerOf = (at: number): string => last.names[last.order[at] ?? -1]?.place.pointer ?? joinPointer(pointer, at);
  let lines = 0;
  forEachKept(last.entries.length, edits, (lastAt, at) => {
    const order = last.order[lastAt] ?? 0;
    const rule = names[order] as NameRule;
    const { place } = rule;
    if (lastAt === at && log.isItemAt(pointer, at, place)) return;
    const { file, line, column } = place;
    // Most have moved by as many lines as the one before.
    const moved: Place = { file, line: line + lines, column, pointer: pointerOf(at) };
    const found = log.isItemAt(pointer, at, moved) ? moved : log.locate(moved.pointer);
    lines = found.line - line;
    names[order] = { ...rule, place: found };
  });
  return names;
}

/** Calls for each entry that is in the list before and now. */
function forEachKept(lastCount: number, edits: readonly ListEdit[], call: (lastAt: number, at: number) => void): void {
  let [lastAt, at] = [0, 0];
  for (const edit of edits) {
    while (lastAt < edit.lastAt) call(lastAt++, at++);
    lastAt += edit.removed;
    at += edit.added;
  }
  while (lastAt < lastCount) call(lastAt++, at++);
}

/** Returns the list without rules that are gone, and with others in their order. */
function putTogether(
  { last, entries, edits }: Reread,
  moved: NameRule[],
  gone: ReadonlySet<number>,
  fresh: readonly NameRule[],
): KnownList {
  const added = fresh.map((rule, index) => {
    const text = patternText(rule.pattern);
    return { text, rule, index, before: placeInOrder(last.sorted, text) };
  });
  added.sort((a, b) => (a.text < b.text ? -1 : 1));
  /** Where a rule of the last list is now, and a new one. */
  const places = { last: new Int32Array(moved.length), fresh: new Int32Array(fresh.length) };
  const cuts = [...new Set([...gone, ...added.map(({ before }) => before), moved.length])].sort((a, b) => a - b);
  // In place: a copy of a list of 100,000 takes as long as all that is done with it.
  const { sorted } = last;
  const names = moved;
  let [kept, count] = [0, 0];
  for (const cut of cuts) {
    for (; kept < cut; kept++) places.last[kept] = count++;
    const here = added.filter(({ before }) => before === cut);
    const isGone = gone.has(cut);
    sorted.splice(count, isGone ? 1 : 0, ...here.map(({ text }) => text));
    names.splice(count, isGone ? 1 : 0, ...here.map(({ rule }) => rule));
    for (const { index } of here) places.fresh[index] = count++;
    if (isGone) kept = cut + 1;
  }
  const order = new Int32Array(entries.length);
  forEachKept(last.entries.length, edits, (lastAt, at) => {
    order[at] = places.last[last.order[lastAt] ?? 0] ?? 0;
  });
  let taken = 0;
  for (const { at, added: count } of edits) {
    for (let index = at; index < at + count; index++) order[index] = places.fresh[taken++] ?? 0;
  }
  noteLasting(names);
  return { ...last, sorted, names, entries, order };
}

/** Returns where a text stands among sorted texts, or would. */
function placeInOrder(sorted: readonly string[], text: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? "") < text) low = middle + 1;
    else high = middle;
  }
  return low;
}
