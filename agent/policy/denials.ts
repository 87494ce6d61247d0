import { cidrRange, compareRanges, parseCidr } from "./cidr.ts";
import { compareTexts } from "./compare-texts.ts";
import type { DenyDocument, EntryDetails } from "./document.ts";
import { parseDeniedPattern } from "./domain.ts";
import { readNotes } from "./entries.ts";
import { readExpiry } from "./expiry.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { Denials, NameDenial, NetworkDenial, Place } from "./policy.ts";
import type { RuleContext } from "./read-names.ts";

/**
 * Returns the entries of one or more `deny` objects, sorted, one a name or network; what is wrong in them goes to the
 * log. A denied entry has no ports: it denies on all of them, and wins over every `allow`, however specific.
 */
export function readDenials(
  denies: readonly { readonly deny: DenyDocument; readonly pointer: string; readonly context: RuleContext }[],
): Denials {
  const names = new Map<string, NameDenial>();
  const networks = new Map<string, NetworkDenial>();
  for (const { deny, pointer, context } of denies) {
    readNames(deny, joinPointer(pointer, "domains"), context, names);
    readNetworks(deny, joinPointer(pointer, "ips"), context, networks);
  }
  const ranged = [...networks.values()].map((denial) => ({ denial, range: cidrRange(denial.network) }));
  return {
    names: [...names].sort(([a], [b]) => compareTexts(a, b)).map(([, denial]) => denial),
    networks: ranged.sort((a, b) => compareRanges(a.range, b.range)).map(({ denial }) => denial),
  };
}

function readNames(deny: DenyDocument, list: string, context: RuleContext, names: Map<string, NameDenial>): void {
  const { log, labels } = context;
  for (const [index, entry] of (deny.domains ?? []).entries()) {
    const place = log.locate(joinPointer(list, index));
    const parsed = parseDeniedPattern(typeof entry === "string" ? entry : entry.domain);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const pattern = parsed.value;
    const text = patternText(pattern);
    const denial = { pattern, ...detailsOf(entry, labels.take(text), joinPointer(list, index), log) };
    const earlier = names.get(text);
    if (earlier !== undefined) warnRepeated(text, earlier.place, place, context);
    names.set(text, longer(earlier, denial));
    const below = `*.${text}`;
    if (deny.subdomains === true && pattern.kind === "exact") {
      names.set(below, longer(names.get(below), { ...denial, pattern: { ...pattern, kind: "subdomains" } }));
    }
  }
}

function readNetworks(
  deny: DenyDocument,
  list: string,
  context: RuleContext,
  networks: Map<string, NetworkDenial>,
): void {
  const { log, labels } = context;
  for (const [index, entry] of (deny.ips ?? []).entries()) {
    const place = log.locate(joinPointer(list, index));
    const parsed = parseCidr(typeof entry === "string" ? entry : entry.network);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const network = parsed.value;
    const denial = { network, ...detailsOf(entry, labels.take(network), joinPointer(list, index), log) };
    const earlier = networks.get(network);
    if (earlier !== undefined) warnRepeated(network, earlier.place, place, context);
    networks.set(network, longer(earlier, denial));
  }
}

type Details = Pick<NameDenial, "label" | "notes" | "expiresS" | "place">;

function detailsOf(entry: string | EntryDetails, label: string | null, pointer: string, log: IssueLog): Details {
  const place = log.locate(pointer);
  if (typeof entry === "string") return { label, place };
  const notes = readNotes(entry);
  const expiresS = readExpiry(entry, pointer, log);
  return {
    label: entry.label ?? label,
    ...(notes === null ? {} : { notes }),
    ...(expiresS === null ? {} : { expiresS }),
    place,
  };
}

/** Of two entries that deny the same, the one that does so for longer; else the first. */
function longer<D extends Details>(first: D | undefined, second: D): D {
  if (first === undefined) return second;
  const [one, other] = [first, second].map(({ expiresS }) => expiresS ?? Number.POSITIVE_INFINITY);
  return one !== undefined && other !== undefined && other > one ? second : first;
}

function warnRepeated(text: string, earlier: Place, place: Place, { log }: RuleContext): void {
  log.warn(place, `${quoteText(text)} is denied already in ${whereIs(earlier, place)}`, "remove one of them");
}
