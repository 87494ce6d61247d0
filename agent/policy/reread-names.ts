import type { DomainEntry } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { lintName } from "./lints.ts";
import { findListEdits, type ListEdit } from "./list-edits.ts";
import { patternText } from "./pattern-text.ts";
import type { NameRule, Place } from "./policy.ts";
import type { KnownList } from "./policy-memory.ts";

/**
 * Returns a list of names that differs from the last one in a few entries, each in the place of another, without reading
 * the others; null when there is anything else to it, so that it must be read whole. What comes out is the same.
 */
export function rereadNames(
  last: KnownList,
  entries: readonly DomainEntry[],
  pointer: string,
  log: IssueLog,
): KnownList | null {
  if (!last.isPlain || entries.length !== last.entries.length) return null;
  const edits = findListEdits(last.entries, entries);
  if (edits === null || edits.some(({ removed, added }) => removed !== added)) return null;
  const rules = edits.flatMap((edit) => readEdit(edit, last, entries, pointer, log) ?? []);
  const gone = edits.flatMap(({ at, removed }) => last.byEntry.slice(at, at + removed));
  if (rules.length !== gone.length || !isEveryOtherInPlace(last, edits, pointer, log)) return null;
  return replaceRules(last, entries, edits, rules);
}

/** Returns the rules of entries that are names and nothing else, and of which nothing is to be said. */
function readEdit(
  { at, added }: ListEdit,
  last: KnownList,
  entries: readonly DomainEntry[],
  pointer: string,
  log: IssueLog,
): readonly NameRule[] | null {
  const rules: NameRule[] = [];
  for (let index = at; index < at + added; index++) {
    const entry = entries[index];
    const parsed = typeof entry === "string" ? parseDomainPattern(entry) : null;
    if (parsed?.ok !== true) return null;
    const place = log.locate(joinPointer(pointer, index));
    if (hasWarning(parsed.value, place, log)) return null;
    rules.push({ pattern: parsed.value, ports: last.ports, label: null, place });
  }
  return rules;
}

function hasWarning(pattern: NameRule["pattern"], place: Place, log: IssueLog): boolean {
  let isWarned = false;
  const note = (): void => {
    isWarned = true;
  };
  lintName(pattern, place, { ...log, warn: note, error: note });
  return isWarned;
}

function isEveryOtherInPlace(
  { byEntry }: KnownList,
  edits: readonly ListEdit[],
  pointer: string,
  log: IssueLog,
): boolean {
  let next = 0;
  for (let index = 0; index < byEntry.length; index++) {
    const edit = edits[next];
    if (edit !== undefined && index === edit.at) {
      index += edit.added - 1;
      next++;
      continue;
    }
    const rule = byEntry[index];
    if (rule === null || rule === undefined || !log.isItemAt(pointer, index, rule.place)) return false;
  }
  return true;
}

/** Returns null when a name would stand there twice. */
function replaceRules(
  last: KnownList,
  entries: readonly DomainEntry[],
  edits: readonly ListEdit[],
  fresh: readonly NameRule[],
): KnownList | null {
  const gone = new Set(edits.flatMap(({ at, removed }) => last.byEntry.slice(at, at + removed)));
  const goneTexts = new Set([...gone].map((rule) => (rule === null ? "" : patternText(rule.pattern))));
  const texts = fresh.map(({ pattern }) => patternText(pattern));
  const isNew = (text: string): boolean => !last.rules.has(text) || goneTexts.has(text);
  if (new Set(texts).size !== texts.length || !texts.every(isNew)) return null;
  const byEntry = [...last.byEntry];
  let taken = 0;
  for (const { at, added } of edits) {
    for (let index = at; index < at + added; index++) byEntry[index] = fresh[taken++] ?? null;
  }
  // The rules of the last list are nobody's any more: what is remembered of it is replaced by this one.
  const { rules } = last;
  const sorted = [...last.sorted];
  const names = [...last.names];
  for (const text of goneTexts) {
    const at = placeInOrder(sorted, text);
    sorted.splice(at, 1);
    names.splice(at, 1);
    rules.delete(text);
  }
  for (const [index, text] of texts.entries()) {
    const rule = fresh[index] as NameRule;
    const at = placeInOrder(sorted, text);
    sorted.splice(at, 0, text);
    names.splice(at, 0, rule);
    rules.set(text, rule);
  }
  return { ...last, sorted, names, entries, byEntry };
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
