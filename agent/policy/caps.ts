import { compareTexts } from "./compare-texts.ts";
import type { ExfilDocument } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { buildNameTable, buildPatternTable, findNameRules, type PatternTable, suffixesOf } from "./name-table.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { ByteCap, NamePattern, NameRule } from "./policy.ts";

/** Of a whole policy: each is an object of the kernel that is read every second. */
export const MAX_CAPS = 10_000;

/**
 * Returns the byte caps of a host's `exfil`, sorted by pattern. A pattern that is none, or that stands there twice, is an
 * error; one that no rule of the host can ever reach is warned of.
 */
export function readCaps(
  exfil: ExfilDocument | undefined,
  pointer: string,
  rules: readonly NameRule[],
  log: IssueLog,
): readonly ByteCap[] {
  const caps = new Map<string, ByteCap>();
  const list = joinPointer(pointer, "domains");
  if (exfil === undefined) return [];
  const count = Object.keys(exfil.domains).length;
  // Finding the place of each takes longer the more there are.
  if (count > MAX_CAPS) {
    const message = `there are ${count} byte caps; at most ${MAX_CAPS} are counted`;
    log.error(log.locate(list, "key"), message, "use wildcards: all names of one share a cap");
    return [];
  }
  const canReach = createReach(rules);
  for (const [text, { bytes, period }] of Object.entries(exfil.domains)) {
    const place = log.locate(joinPointer(list, text), "key");
    const parsed = parseDomainPattern(text);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const key = patternText(parsed.value);
    const earlier = caps.get(key);
    if (earlier !== undefined) {
      const message = `${quoteText(text)} has a cap already in ${whereIs(earlier.place, place)}`;
      log.error(place, message, "remove one of them");
      continue;
    }
    caps.set(key, { pattern: parsed.value, bytes, period, place });
    if (!canReach(parsed.value)) {
      const message = `the host may reach nothing that ${quoteText(text)} names, so the cap counts nothing`;
      log.warn(place, message, "check its spelling, or remove it");
    }
  }
  return [...caps.values()].sort((a, b) => compareTexts(patternText(a.pattern), patternText(b.pattern)));
}

/** Returns the cap that a name counts for: its own, else that of the longest wildcard over it; null for none. */
export function findCap(caps: readonly ByteCap[] | undefined, name: string): ByteCap | null {
  if (caps === undefined) return null;
  let table = tables.get(caps);
  if (table === undefined) {
    table = buildPatternTable(caps, (first) => first);
    tables.set(caps, table);
  }
  return findNameRules(table, name)[0] ?? null;
}

/** The gate asks for each name that it opens; an index lasts as long as its policy. */
const tables = new WeakMap<readonly ByteCap[], PatternTable<ByteCap>>();

/** Returns whether some name matches both a rule and a pattern. Looks at all rules once. */
function createReach(rules: readonly NameRule[]): (pattern: NamePattern) => boolean {
  const table = buildNameTable(rules);
  const suffixes = new Set<string>();
  for (const { pattern } of rules) {
    if (pattern.kind === "subdomains") suffixes.add(pattern.name);
    for (const suffix of suffixesOf(pattern.name)) suffixes.add(suffix);
  }
  return ({ kind, name }) =>
    kind === "exact"
      ? findNameRules(table, name).length > 0
      : suffixes.has(name) || findNameRules(table, `any.${name}`).length > 0;
}
