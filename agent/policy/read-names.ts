import type { ListsDocument } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import { addRule, type Drafts, finishNames, ruleKey, sortTexts } from "./drafts.ts";
import { readEntry } from "./entries.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import type { LabelBook } from "./labels.ts";
import { lintName } from "./lints.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { NamePattern, NameRule, Place, PortRange } from "./policy.ts";
import {
  type PolicyMemory,
  patternBelow,
  rememberList,
  rememberPattern,
  samePorts,
  sameRule,
} from "./policy-memory.ts";
import { rereadNames } from "./reread-names.ts";

export interface RuleContext {
  readonly log: IssueLog;
  readonly labels: LabelBook;
  readonly memory?: PolicyMemory | undefined;
}

/** A list while it is read. */
interface Reading {
  readonly context: RuleContext;
  readonly pointer: string;
  readonly ports: readonly PortRange[];
  /** Names below each name are in the list too. */
  readonly withBelow: boolean;
  /** The rules of the same list of the policy that was read last, by key. */
  readonly last: ReadonlyMap<string, NameRule> | null;
  readonly rules: Drafts<NameRule>;
  /** Keys that the last list did not have. */
  readonly fresh: string[];
}

/** Returns the rules of a list of names, sorted, one a name; what is wrong in it goes to the log. */
export function readNames(
  allow: ListsDocument,
  listPorts: readonly PortRange[],
  pointer: string,
  context: RuleContext,
): readonly NameRule[] {
  const { log, memory } = context;
  const key = `${log.locate("").file}\n${pointer}`;
  const last = memory?.lists.get(key);
  const ports = samePorts(last?.ports, listPorts);
  const withBelow = allow.subdomains === true;
  const entries = allow.domains ?? [];
  const isSame = memory?.isSameBesides === true && !withBelow;
  const isBare = context.labels.isEmpty;
  const known = isSame && isBare && last?.ports === ports ? rereadNames(last, entries, pointer, log) : null;
  if (memory !== undefined && known !== null) {
    rememberList(memory, key, known);
    return known.names;
  }
  const lastRules =
    last === undefined ? null : new Map(last.sorted.map((text, order) => [text, last.names[order] as NameRule]));
  const reading: Reading = { context, pointer, ports, withBelow, last: lastRules, rules: new Map(), fresh: [] };
  const byEntry = entries.map((entry, index) => {
    const order = isSame && last?.entries[index] === entry ? (last.order[index] ?? -1) : -1;
    const same = order === -1 ? undefined : last?.names[order];
    if (same === undefined || !log.isItemAt(pointer, index, same.place)) return readName(reading, entry, index);
    const text = patternText(same.pattern);
    context.labels.take(text);
    add(reading, ruleKey(text, same), same);
    return same;
  });
  const { rules, fresh } = reading;
  const sorted = last === undefined ? sortTexts(rules.keys()) : mergeTexts(last.sorted, rules, fresh);
  const names = finishNames(rules, log, sorted);
  if (memory !== undefined) {
    const isPlain = isBare && rules.size === entries.length && !byEntry.includes(null);
    rememberList(memory, key, { ports, names, sorted, entries, order: orderOf(byEntry, names), isPlain });
  }
  return names;
}

function orderOf(byEntry: readonly (NameRule | null)[], names: readonly NameRule[]): Int32Array {
  const places = new Map<NameRule | null, number>(names.map((rule, order) => [rule, order]));
  return Int32Array.from(byEntry, (rule) => places.get(rule) ?? -1);
}

/** Reads an entry; returns its rule when the text alone says it and nothing is to be said about it, else null. */
function readName(
  reading: Reading,
  entry: NonNullable<ListsDocument["domains"]>[number],
  index: number,
): NameRule | null {
  const { context, last } = reading;
  const { ports, label, ...rest } = readEntry(entry, joinPointer(reading.pointer, index), context.log);
  const known = readPattern(typeof entry === "string" ? entry : entry.domain, rest.place, context);
  if (known === null) return null;
  const { pattern, isQuiet } = known;
  const text = patternText(pattern);
  const written = { pattern, ports: ports ?? reading.ports, label: label ?? context.labels.take(text), ...rest };
  const key = ruleKey(text, written);
  const earlier = last?.get(key);
  const rule = earlier === undefined ? written : sameRule(earlier, written);
  const isFirst = add(reading, key, rule);
  if (reading.withBelow && pattern.kind === "exact") {
    addBelow(reading, ruleKey(`*.${text}`, rule), { ...rule, pattern: patternBelow(context.memory, pattern) });
  }
  return isFirst && isQuiet && typeof entry === "string" ? rule : null;
}

/** Returns whether it is the first of its text. */
function add({ context, last, rules, fresh }: Reading, text: string, rule: NameRule): boolean {
  if (last !== null && !last.has(text) && !rules.has(text)) fresh.push(text);
  const earlier = addRule(rules, text, rule);
  if (earlier === null) return true;
  const { log } = context;
  log.warn(rule.place, `${quoteText(text)} stands in the list since line ${earlier.place.line}`, "remove one of them");
  return false;
}

function addBelow({ last, rules, fresh }: Reading, text: string, rule: NameRule): void {
  if (last !== null && !last.has(text) && !rules.has(text)) fresh.push(text);
  addRule(rules, text, rule);
}

/** Returns what an entry means, and whether it gives no warning; null when it means nothing. What is to be said about it goes to the log. */
function readPattern(
  entry: string,
  place: Place,
  { log, memory }: RuleContext,
): { readonly pattern: NamePattern; readonly isQuiet: boolean } | null {
  const remembered = memory?.patterns.get(entry);
  if (remembered !== undefined) return { pattern: remembered, isQuiet: true };
  const parsed = parseDomainPattern(entry);
  if (!parsed.ok) {
    log.error(place, parsed.message, parsed.remedy);
    return null;
  }
  const pattern = parsed.value;
  let isQuiet = true;
  const warn: IssueLog["warn"] = (...warning) => {
    isQuiet = false;
    log.warn(...warning);
  };
  lintName(pattern, place, { ...log, warn });
  if (isQuiet && memory !== undefined) rememberPattern(memory, entry, pattern);
  return { pattern, isQuiet };
}

/** Returns the keys of the rules in order: those that were there last time are in order already. */
function mergeTexts(last: readonly string[], rules: Drafts<NameRule>, fresh: readonly string[]): string[] {
  const kept = last.filter((text) => rules.has(text));
  if (fresh.length === 0) return kept;
  const merged: string[] = [];
  let at = 0;
  for (const text of sortTexts(fresh)) {
    for (let next = kept[at]; next !== undefined && next < text; next = kept[++at]) merged.push(next);
    merged.push(text);
  }
  return merged.concat(kept.slice(at));
}
