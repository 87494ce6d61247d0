import { addressBits, cidrRange, parseCidr, rangeToCidrs } from "./cidr.ts";
import type { ListsDocument } from "./document.ts";
import { parseDomainPattern } from "./domain.ts";
import { addRule, type Drafts, finishNames, finishNetworks, finishRules, sortTexts } from "./drafts.ts";
import { readEntry, readPorts } from "./entries.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import type { LabelBook } from "./labels.ts";
import { lintName, lintNetwork } from "./lints.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { Cidr, NameRule, NetworkRule, Place, PortRange, Rules } from "./policy.ts";
import {
  type KnownPattern,
  type PolicyMemory,
  rememberList,
  rememberPattern,
  samePorts,
  sameRule,
} from "./policy-memory.ts";
import { DEFAULT_PORTS } from "./ports.ts";
import { TLS_PORT } from "./proxied.ts";
import { subtractRanges } from "./ranges.ts";
import { findSpecialRanges } from "./special.ts";

export interface RuleContext {
  readonly log: IssueLog;
  readonly labels: LabelBook;
  readonly memory?: PolicyMemory | undefined;
}

/** Returns the rules of the lists of one `allow` or named list, sorted, one a name or network; what is wrong in it goes to the log. */
export function readRules(allow: ListsDocument, pointer: string, context: RuleContext): Rules {
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

function readNames(
  allow: ListsDocument,
  listPorts: readonly PortRange[],
  listPointer: string,
  context: RuleContext,
): readonly NameRule[] {
  const { log, labels, memory } = context;
  const listKey = `${log.locate("").file}\n${listPointer}`;
  const last = memory?.lists.get(listKey);
  const ports = samePorts(last?.ports, listPorts);
  const rules: Drafts<NameRule> = new Map();
  const fresh: string[] = [];
  const add = (text: string, rule: NameRule): NameRule | null => {
    const earlier = last?.rules.get(text);
    if (earlier === undefined && !rules.has(text)) fresh.push(text);
    return addRule(rules, text, earlier === undefined || !("place" in earlier) ? rule : sameRule(earlier, rule));
  };
  for (const [index, entry] of (allow.domains ?? []).entries()) {
    const { ports: ownPorts, label, ...rest } = readEntry(entry, joinPointer(listPointer, index), log);
    const { place } = rest;
    const known = readPattern(typeof entry === "string" ? entry : entry.domain, place, context);
    if (known === null) continue;
    const { pattern, text } = known;
    const rule = { pattern, ports: ownPorts ?? ports, label: label ?? labels.take(text), ...rest };
    const earlier = add(text, rule);
    if (earlier !== null) warnRepeated(text, earlier.place, place, log);
    if (allow.subdomains === true && pattern.kind === "exact") add(`*.${text}`, { ...rule, pattern: known.below });
  }
  const sorted = last === undefined ? sortTexts(rules.keys()) : mergeTexts(last.sorted, rules, fresh);
  if (memory !== undefined) rememberList(memory, listKey, { ports, rules, sorted });
  return finishNames(rules, log, sorted);
}

/** Returns what an entry means, or null when it means nothing; what is to be said about it goes to the log. */
function readPattern(entry: string, place: Place, { log, memory }: RuleContext): KnownPattern | null {
  const remembered = memory?.patterns.get(entry);
  if (remembered !== undefined) return remembered;
  const parsed = parseDomainPattern(entry);
  if (!parsed.ok) {
    log.error(place, parsed.message, parsed.remedy);
    return null;
  }
  const pattern = parsed.value;
  const known = { pattern, text: patternText(pattern), below: { ...pattern, kind: "subdomains" as const } };
  let isQuiet = true;
  const warn: IssueLog["warn"] = (...warning) => {
    isQuiet = false;
    log.warn(...warning);
  };
  lintName(pattern, place, { ...log, warn });
  if (isQuiet && memory !== undefined) rememberPattern(memory, entry, known);
  return known;
}

/** Returns the keys of the rules in order: those that were there last time are in order already. */
function mergeTexts(last: readonly string[], rules: Drafts<NameRule>, fresh: readonly string[]): readonly string[] {
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

function readNetworks(
  allow: ListsDocument,
  ports: readonly PortRange[],
  listPointer: string,
  context: RuleContext,
): readonly NetworkRule[] {
  const written: Drafts<NetworkRule> = new Map();
  for (const [index, entry] of (allow.ips ?? []).entries()) {
    const { ports: ownPorts, label, ...rest } = readEntry(entry, joinPointer(listPointer, index), context.log);
    const { place } = rest;
    const parsed = parseCidr(typeof entry === "string" ? entry : entry.network);
    if (!parsed.ok) {
      context.log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const network = parsed.value;
    const rule = { network, ports: ownPorts ?? ports, label: label ?? context.labels.take(network), ...rest };
    const earlier = addRule(written, network, rule);
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

function warnRepeated(text: string, earlier: Place, place: Place, log: IssueLog): void {
  log.warn(place, `${quoteText(text)} stands in the list since line ${earlier.line}`, "remove one of them");
}
