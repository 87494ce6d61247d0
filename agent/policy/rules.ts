import { addressBits, cidrRange, parseCidr, rangeToCidrs } from "./cidr.ts";
import type { ListsDocument } from "./document.ts";
import { addRule, type Drafts, finishNetworks, finishRules, ruleKey } from "./drafts.ts";
import { readEntry, readPorts } from "./entries.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { lintNetwork } from "./lints.ts";
import { quoteText } from "./parsed.ts";
import type { Cidr, NetworkRule, Place, PortRange, Rules } from "./policy.ts";
import { DEFAULT_PORTS } from "./ports.ts";
import { TLS_PORT } from "./proxied.ts";
import { subtractRanges } from "./ranges.ts";
import { type RuleContext, readNames } from "./read-names.ts";
import { findSpecialRanges } from "./special.ts";

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
    const earlier = addRule(written, ruleKey(network, rule), rule);
    if (earlier !== null) warnRepeated(network, earlier.place, place, context.log);
  }
  // Divided only after repetitions are joined, so that each network is divided once.
  const divided: Drafts<NetworkRule> = new Map();
  for (const [, rule] of finishRules(written, context.log)) {
    for (const part of openableParts(rule.network, rule.place, context.log)) {
      addRule(divided, ruleKey(part, rule), part === rule.network ? rule : { ...rule, network: part });
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
