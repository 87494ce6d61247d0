import type { NamePattern, NameRule } from "./policy.ts";
import { sortPorts } from "./ports.ts";

/** Finds something by a name. A map is one. */
export type NameLookup<E> = Pick<ReadonlyMap<string, E>, "get" | "size">;

/** Entries by name: at most one a pattern. */
export interface PatternTable<E> {
  readonly exact: NameLookup<E>;
  readonly subdomains: NameLookup<E>;
}

/** The rules of one group by name: of each pattern one that never expires at most, and those that do. */
export type NameTable = PatternTable<readonly NameRule[]>;

/** Returns the rules by name; of the same pattern and expiry twice, one rule with the union of ports and the first label. */
export function buildNameTable(rules: readonly NameRule[]): NameTable {
  const written = rules.map((rule): WrittenRules => ({ pattern: rule.pattern, rules: [rule] }));
  const { exact, subdomains } = buildPatternTable(written, (first, second) => ({
    pattern: first.pattern,
    rules: second.rules.reduce(addToRules, first.rules),
  }));
  return { exact: mapValues(exact), subdomains: mapValues(subdomains) };
}

interface WrittenRules {
  readonly pattern: NamePattern;
  readonly rules: readonly NameRule[];
}

function mapValues(table: ReadonlyMap<string, WrittenRules>): ReadonlyMap<string, readonly NameRule[]> {
  return new Map([...table].map(([name, { rules }]) => [name, rules]));
}

function addToRules(rules: readonly NameRule[], rule: NameRule): readonly NameRule[] {
  const same = rules.findIndex(({ expiresS }) => expiresS === rule.expiresS);
  return same === -1
    ? [...rules, rule]
    : rules.map((other, index) => (index === same ? joinRules(other, rule) : other));
}

/** Returns entries by name; two of the same pattern are joined. */
export function buildPatternTable<E extends { readonly pattern: NamePattern }>(
  entries: readonly E[],
  join: (first: E, second: E) => E,
): { readonly exact: ReadonlyMap<string, E>; readonly subdomains: ReadonlyMap<string, E> } {
  const exact = new Map<string, E>();
  const subdomains = new Map<string, E>();
  for (const entry of entries) {
    const table = entry.pattern.kind === "exact" ? exact : subdomains;
    const earlier = table.get(entry.pattern.name);
    table.set(entry.pattern.name, earlier === undefined ? entry : join(earlier, entry));
  }
  return { exact, subdomains };
}

/** Returns the entries that match a name, the most specific first: itself, then the longest suffix. */
export function findNameRules<E>(table: PatternTable<E>, name: string): readonly E[] {
  const exact = table.exact.get(name);
  const found = exact === undefined ? [] : [exact];
  if (table.subdomains.size === 0) return found;
  for (const suffix of suffixesOf(name)) {
    const rule = table.subdomains.get(suffix);
    if (rule !== undefined) found.push(rule);
  }
  return found;
}

/** Yields what stands behind each dot of a name, the longest first. */
export function* suffixesOf(name: string): Generator<string> {
  for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) yield name.slice(dot + 1);
}

function joinRules(first: NameRule, second: NameRule): NameRule {
  return { ...first, ports: sortPorts([...first.ports, ...second.ports]), label: first.label ?? second.label };
}
