import { addressBits, cidrRange, compareRanges, parseCidr, rangeToCidrs } from "./cidr.ts";
import { compareTexts } from "./compare-texts.ts";
import { patternText } from "./decide.ts";
import type { AllowDocument, EntryDetails, PortEntry } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import type { LabelBook } from "./labels.ts";
import { lintName, lintNetwork, lintPort } from "./lints.ts";
import { quoteText } from "./parsed.ts";
import type { Cidr, NameRule, NetworkRule, Place, PortRange } from "./policy.ts";
import { DEFAULT_PORTS, parsePortRange, sortPorts } from "./ports.ts";
import { TLS_PORT } from "./proxied.ts";
import { subtractRanges } from "./ranges.ts";
import { findSpecialRanges } from "./special.ts";

export interface RuleContext {
  readonly log: IssueLog;
  readonly labels: LabelBook;
}

export interface Rules {
  readonly names: readonly NameRule[];
  readonly networks: readonly NetworkRule[];
}

/** As many as one list may have. More would make hostile files quadratic in their repetitions. */
const MAX_PORTS = 1000;

export const NO_RULES: Rules = { names: [], networks: [] };

/** Returns the rules of one `allow` object, sorted, one a name or network; what is wrong in it goes to the log. */
export function readRules(allow: AllowDocument | undefined, pointer: string, context: RuleContext): Rules {
  if (allow === undefined) return NO_RULES;
  const ports = readPorts(allow.ports, joinPointer(pointer, "ports"), context.log) ?? DEFAULT_PORTS;
  return {
    names: readNames(allow, ports, joinPointer(pointer, "domains"), context),
    networks: readNetworks(allow, ports, joinPointer(pointer, "ips"), context),
  };
}

/** Returns the rules of a list of names that TLS may be opened to. */
export function readTlsNames(domains: readonly string[], pointer: string, context: RuleContext): Rules {
  return { names: readNames({ domains }, [TLS_PORT], pointer, context), networks: [] };
}

/** Returns both sets of rules as one; where both have an entry: the union of its ports and the label of the first. */
export function joinRules(first: Rules, second: Rules, log: IssueLog): Rules {
  const names: Drafts<NameRule> = new Map();
  for (const rule of [...first.names, ...second.names]) addRule(names, patternText(rule.pattern), rule);
  const networks: Drafts<NetworkRule> = new Map();
  for (const rule of [...first.networks, ...second.networks]) addRule(networks, rule.network, rule);
  return { names: finishNames(names, log), networks: finishNetworks(networks, log) };
}

function readNames(
  allow: AllowDocument,
  ports: readonly PortRange[],
  listPointer: string,
  context: RuleContext,
): readonly NameRule[] {
  const rules: Drafts<NameRule> = new Map();
  for (const [index, entry] of (allow.domains ?? []).entries()) {
    const details = readEntry(entry, typeof entry === "string" ? entry : entry.domain, listPointer, index, context);
    const { place } = details;
    const parsed = parseDomainPattern(details.text);
    if (!parsed.ok) {
      context.log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const pattern = parsed.value;
    const text = patternText(pattern);
    lintName(pattern, place, context.log);
    const rule = { pattern, ports: details.ports ?? ports, label: details.label ?? context.labels.take(text), place };
    const earlier = addRule(rules, text, rule);
    if (earlier !== null) warnRepeated(text, earlier.place, place, context.log);
    if (allow.subdomains === true && pattern.kind === "exact") {
      addRule(rules, `*.${text}`, { ...rule, pattern: { ...pattern, kind: "subdomains" } });
    }
  }
  return finishNames(rules, context.log);
}

function readNetworks(
  allow: AllowDocument,
  ports: readonly PortRange[],
  listPointer: string,
  context: RuleContext,
): readonly NetworkRule[] {
  const written: Drafts<NetworkRule> = new Map();
  for (const [index, entry] of (allow.ips ?? []).entries()) {
    const details = readEntry(entry, typeof entry === "string" ? entry : entry.network, listPointer, index, context);
    const { place } = details;
    const parsed = parseCidr(details.text);
    if (!parsed.ok) {
      context.log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const network = parsed.value;
    const label = details.label ?? context.labels.take(network);
    const earlier = addRule(written, network, { network, ports: details.ports ?? ports, label, place });
    if (earlier !== null) warnRepeated(network, earlier.place, place, context.log);
  }
  // Divided only after repetitions are joined, so that each network is divided once.
  const divided: Drafts<NetworkRule> = new Map();
  for (const [network, rule] of finishRules(written, context.log)) {
    for (const part of openableParts(rule.network, rule.place, context.log)) {
      addRule(divided, part, part === network ? rule : { ...rule, network: part });
    }
  }
  return finishNetworks(divided, context.log);
}

/** Returns a network without the addresses that no entry opens; a network of nothing else is an error. */
function openableParts(network: Cidr, place: Place, log: IssueLog): readonly Cidr[] {
  const range = cidrRange(network);
  const special = findSpecialRanges(range);
  const parts = special.length === 0 ? [network] : subtractRanges(range, special).flatMap(rangeToCidrs);
  if (parts.length === 0) {
    const what = special[0]?.what ?? "special";
    log.error(place, `${network} can never be opened (${what})`, "remove it; the gateway does not forward there");
    return [];
  }
  const length = Number(network.slice(network.indexOf("/") + 1));
  lintNetwork(network, range.family, addressBits(range.family) - length, place, log);
  return parts;
}

interface Entry {
  readonly text: string;
  readonly place: Place;
  readonly label: string | null;
  readonly ports: readonly PortRange[] | null;
}

function readEntry(
  entry: string | EntryDetails,
  text: string,
  list: string,
  index: number,
  context: RuleContext,
): Entry {
  const pointer = joinPointer(list, index);
  const place = context.log.locate(pointer);
  if (typeof entry === "string") return { text, place, label: null, ports: null };
  const ports = readPorts(entry.ports, joinPointer(pointer, "ports"), context.log);
  return { text, place, label: entry.label ?? null, ports };
}

function readPorts(
  entries: readonly PortEntry[] | undefined,
  pointer: string,
  log: IssueLog,
): readonly PortRange[] | null {
  if (entries === undefined) return null;
  const ports: PortRange[] = [];
  for (const [index, entry] of entries.entries()) {
    const parsed = parsePortRange(entry);
    const place = log.locate(joinPointer(pointer, index));
    if (!parsed.ok) log.error(place, parsed.message, parsed.remedy);
    else {
      lintPort(parsed.value, place, log);
      ports.push(parsed.value);
    }
  }
  return sortPorts(ports);
}

function warnRepeated(text: string, earlier: Place, place: Place, log: IssueLog): void {
  log.warn(place, `${quoteText(text)} stands in the list since line ${earlier.line}`, "remove one of them");
}

/** The rules of one list while it is read: by canonical text, with the ports of every entry. */
type Drafts<R> = Map<string, { readonly rule: R; readonly ports: (readonly PortRange[])[] }>;

/** Adds a rule. Where one is already, it takes the ports, and the label if it has none, and is returned. */
function addRule<R extends NameRule | NetworkRule>(drafts: Drafts<R>, key: string, rule: R): R | null {
  const draft = drafts.get(key);
  if (draft === undefined) {
    drafts.set(key, { rule, ports: [rule.ports] });
    return null;
  }
  if (draft.ports.at(-1) !== rule.ports) draft.ports.push(rule.ports);
  if (draft.rule.label === null) drafts.set(key, { rule: { ...draft.rule, label: rule.label }, ports: draft.ports });
  return draft.rule;
}

function finishRules<R extends NameRule | NetworkRule>(drafts: Drafts<R>, log: IssueLog): readonly [string, R][] {
  return [...drafts].map(([key, { rule, ports }]) => {
    if (ports.length === 1) return [key, rule];
    // Sorted once at the end: a list that repeats one name with other ports would else take quadratic time.
    const union = sortPorts(ports.flat());
    if (union.length > MAX_PORTS) {
      const message = `${quoteText(key)} has more than ${MAX_PORTS} ports and ranges in all its entries`;
      log.error(rule.place, message, "write ranges");
    }
    return [key, { ...rule, ports: union }];
  });
}

function finishNames(drafts: Drafts<NameRule>, log: IssueLog): readonly NameRule[] {
  const rules = [...finishRules(drafts, log)];
  return rules.sort(([a], [b]) => compareTexts(a, b)).map(([, rule]) => rule);
}

function finishNetworks(drafts: Drafts<NetworkRule>, log: IssueLog): readonly NetworkRule[] {
  const ranged = finishRules(drafts, log).map(([, rule]) => ({ rule, range: cidrRange(rule.network) }));
  return ranged.sort((a, b) => compareRanges(a.range, b.range)).map(({ rule }) => rule);
}
