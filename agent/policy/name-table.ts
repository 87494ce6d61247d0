import type { NameRule } from "./policy.ts";
import { sortPorts } from "./ports.ts";

/** The rules of one group by name: at most one a pattern. */
export interface NameTable {
  readonly exact: ReadonlyMap<string, NameRule>;
  readonly subdomains: ReadonlyMap<string, NameRule>;
}

/** Returns the rules by name; of the same pattern twice, one rule with the union of ports and the first label. */
export function buildNameTable(rules: readonly NameRule[]): NameTable {
  const exact = new Map<string, NameRule>();
  const subdomains = new Map<string, NameRule>();
  for (const rule of rules) {
    const table = rule.pattern.kind === "exact" ? exact : subdomains;
    const earlier = table.get(rule.pattern.name);
    table.set(rule.pattern.name, earlier === undefined ? rule : joinRules(earlier, rule));
  }
  return { exact, subdomains };
}

/** Returns the rules that match a name, the most specific first: itself, then the longest suffix. */
export function findNameRules(table: NameTable, name: string): readonly NameRule[] {
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
