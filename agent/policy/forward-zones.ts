import { formatAddress, parseAddress, unmapAddress } from "./cidr.ts";
import { compareTexts } from "./compare-texts.ts";
import type { ForwardDocument } from "./document.ts";
import { parseDomainName } from "./domain.ts";
import { readAnswers } from "./entries.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { suffixesOf } from "./name-table.ts";
import { quoteText } from "./parsed.ts";
import type { ForwardZone, Place } from "./policy.ts";
import { findSpecialRanges } from "./special.ts";

/**
 * Returns the zones of `dns.forward`, sorted by name; what is wrong in them goes to the log. Listing a zone opens no
 * name: a client resolves what its lists allow, and of that these resolvers answer what lies in their zones.
 */
export function readForwardZones(
  zones: { readonly [zone: string]: readonly string[] | ForwardDocument } | undefined,
  log: IssueLog,
): readonly ForwardZone[] {
  const found = new Map<string, ForwardZone>();
  for (const [text, written] of Object.entries(zones ?? {})) {
    const pointer = joinPointer("/dns/forward", text);
    const place = log.locate(pointer, "key");
    const parsed = parseDomainName(text);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const zone = parsed.value;
    const earlier = found.get(zone);
    if (earlier !== undefined) {
      log.error(place, `the zone ${quoteText(text)} is already in ${whereIs(earlier.place, place)}`, "write it once");
      continue;
    }
    const { resolvers, answers = [] } = isList(written) ? { resolvers: written } : written;
    const listPointer = isList(written) ? pointer : joinPointer(pointer, "resolvers");
    const networks = readAnswers(answers, joinPointer(pointer, "answers"), log);
    found.set(zone, {
      zone,
      resolvers: readResolvers(resolvers, listPointer, log),
      ...(networks.length === 0 ? {} : { answers: networks }),
      place,
    });
  }
  return [...found.values()].sort((a, b) => compareTexts(a.zone, b.zone));
}

/** Returns the zone that a name lies in, the innermost one, or null. */
export function findForwardZone(zones: ReadonlyMap<string, ForwardZone>, name: string): ForwardZone | null {
  const own = zones.get(name);
  if (own !== undefined || zones.size === 0) return own ?? null;
  for (const suffix of suffixesOf(name)) {
    const zone = zones.get(suffix);
    if (zone !== undefined) return zone;
  }
  return null;
}

function isList(written: readonly string[] | ForwardDocument): written is readonly string[] {
  return Array.isArray(written);
}

function readResolvers(resolvers: readonly string[], pointer: string, log: IssueLog): readonly string[] {
  const addresses = new Set<string>();
  for (const [index, text] of resolvers.entries()) {
    const address = readResolver(text, log.locate(joinPointer(pointer, index)), log);
    if (address !== null) addresses.add(address);
  }
  return [...addresses];
}

function readResolver(text: string, place: Place, log: IssueLog): string | null {
  const address = parseAddress(text);
  if (address === null || unmapAddress(address) !== address) {
    log.error(place, `${quoteText(text)} is no address of a resolver`, 'write "10.0.0.53" or "2001:db8::53"');
    return null;
  }
  const { family, value } = address;
  const special = findSpecialRanges({ family, first: value, last: value })[0];
  if (special !== undefined) {
    log.error(
      place,
      `${formatAddress(address)} can be no resolver (${special.what})`,
      "write the resolver's own address",
    );
    return null;
  }
  return formatAddress(address);
}
