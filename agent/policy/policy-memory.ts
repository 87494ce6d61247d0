import type { Drafts } from "./drafts.ts";
import type { NamePattern, NameRule, PortRange } from "./policy.ts";
import { portText } from "./ports.ts";

/**
 * What was found out about the last policy, so that reading one that differs little is quick and gives the very same
 * objects where nothing changed. It changes how long reading takes and never what comes out.
 */
export interface PolicyMemory {
  /** Entries that mean a name and give no warning, by their text. */
  readonly patterns: Map<string, KnownPattern>;
  /** Lists by file and pointer. */
  readonly lists: Map<string, KnownList>;
}

export interface KnownPattern {
  readonly pattern: NamePattern;
  /** `patternText` of it. */
  readonly text: string;
  /** Every name below it. */
  readonly below: NamePattern;
}

export interface KnownList {
  readonly ports: readonly PortRange[];
  readonly rules: Drafts<NameRule>;
  /** The keys of the rules, in order. */
  readonly sorted: readonly string[];
}

const MAX_PATTERNS = 500_000;
const MAX_LISTS = 1000;

/** Returns a memory of nothing. */
export function createPolicyMemory(): PolicyMemory {
  return { patterns: new Map(), lists: new Map() };
}

/** Keeps what an entry means. */
export function rememberPattern({ patterns }: PolicyMemory, entry: string, known: KnownPattern): void {
  if (patterns.size >= MAX_PATTERNS) patterns.clear();
  patterns.set(entry, known);
}

/** Keeps a list; the one that was read longest ago goes. */
export function rememberList({ lists }: PolicyMemory, key: string, known: KnownList): void {
  lists.delete(key);
  lists.set(key, known);
  const [oldest] = lists.keys();
  if (lists.size > MAX_LISTS && oldest !== undefined) lists.delete(oldest);
}

/** Returns the earlier ports when they are the same. */
export function samePorts(
  earlier: readonly PortRange[] | undefined,
  ports: readonly PortRange[],
): readonly PortRange[] {
  const isSame =
    earlier?.length === ports.length && earlier.every((range, index) => portText(range) === textAt(ports, index));
  return isSame ? earlier : ports;
}

function textAt(ports: readonly PortRange[], index: number): string {
  const range = ports[index];
  return range === undefined ? "" : portText(range);
}

/** Returns the earlier rule when the new one says the same at the same place, whatever parts rules have. */
export function sameRule(earlier: NameRule, rule: NameRule): NameRule {
  const a = earlier.place;
  const b = rule.place;
  const isMoved = a.line !== b.line || a.column !== b.column || a.file !== b.file || a.pointer !== b.pointer;
  if (isMoved) return rule;
  let count = 0;
  for (const key in rule) {
    if (key !== "place" && earlier[key as keyof NameRule] !== rule[key as keyof NameRule]) return rule;
    count++;
  }
  for (const _key in earlier) count--;
  return count === 0 ? earlier : rule;
}
