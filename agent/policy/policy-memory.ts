import type { KnownText } from "./json-patch.ts";
import type { NamePattern, NameRule, PortRange } from "./policy.ts";
import { portText } from "./ports.ts";
import type { PolicySource } from "./source-document.ts";

/**
 * What was found out about the last policy, so that reading one that differs little is quick and gives the very same
 * objects where nothing changed. It changes how long reading takes and never what comes out.
 */
export interface PolicyMemory {
  /** Files of which the text has the shape of a policy. */
  readonly texts: Map<string, KnownText>;
  /** Entries that mean a name and give no warning, by their text. */
  readonly patterns: Map<string, NamePattern>;
  /** Pattern of a name → of every name below it, where a list asked for that. */
  readonly below: WeakMap<NamePattern, NamePattern>;
  /** Lists by file and pointer. */
  readonly lists: Map<string, KnownList>;
  /** All that the last policy said besides its long lists of names; null when it has not been read to the end. */
  besides: string | null;
  /** Whether the policy that is being read says the same besides them: then an entry means what it meant. */
  isSameBesides: boolean;
  /** What `besides` becomes. */
  next: string | null;
}

export interface KnownList {
  readonly ports: readonly PortRange[];
  /** The rules in order: what came out. */
  readonly names: readonly NameRule[];
  /** Their keys. */
  readonly sorted: string[];
  readonly entries: readonly unknown[];
  /** By entry: which rule is its own, when the text says all that it says and nothing is to be said about it; else -1. */
  readonly order: Int32Array;
  /** Each entry is one name, which stands there once and has neither label nor warning. */
  readonly isPlain: boolean;
}

const MAX_PATTERNS = 500_000;
const MAX_LISTS = 1000;

/** Returns a memory of nothing. */
export function createPolicyMemory(): PolicyMemory {
  const known = { texts: new Map(), patterns: new Map(), below: new WeakMap(), lists: new Map() };
  return { ...known, besides: null, isSameBesides: false, next: null };
}

/** A list of fewer names is read as quickly as it is compared. */
const LONG_LIST = 1000;

/** Begins the reading of a policy. */
export function beginPolicy(memory: PolicyMemory, sources: readonly PolicySource[]): void {
  const besides = textBesides(sources);
  memory.isSameBesides = besides !== null && besides === memory.besides;
  // Until it has been read to the end, nothing of it is known.
  memory.besides = null;
  memory.next = besides;
}

/** Forgets the texts of files that a policy does not have any more. */
export function forgetTexts({ texts }: PolicyMemory, sources: readonly PolicySource[]): void {
  const files = new Set(sources.map(({ log }) => log.locate("").file));
  for (const file of texts.keys()) if (!files.has(file)) texts.delete(file);
}

/** Ends the reading of a policy that was accepted. */
export function endPolicy(memory: PolicyMemory): void {
  memory.besides = memory.next;
}

/** Returns all that the files of a policy say but for long lists of names; null when there is no such list. */
function textBesides(sources: readonly PolicySource[]): string | null {
  let hasLong = false;
  const text = JSON.stringify(
    sources.map(({ document, log }) => [log.locate("").file, document]),
    (key, value: unknown) => {
      if (key !== "domains" || !Array.isArray(value) || value.length < LONG_LIST) return value;
      hasLong = true;
      return null;
    },
  );
  return hasLong ? text : null;
}

/** Keeps what an entry means. */
export function rememberPattern({ patterns }: PolicyMemory, entry: string, pattern: NamePattern): void {
  if (patterns.size >= MAX_PATTERNS) patterns.clear();
  patterns.set(entry, pattern);
}

/** Returns the pattern of every name below a name: the same object for the same one. */
export function patternBelow(memory: PolicyMemory | undefined, pattern: NamePattern): NamePattern {
  const known = memory?.below.get(pattern);
  if (known !== undefined) return known;
  const below: NamePattern = { ...pattern, kind: "subdomains" };
  memory?.below.set(pattern, below);
  return below;
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
