import { cidrRange, compareCidrs, parseCidr } from "./cidr.ts";
import type { EntryDetails, PortEntry } from "./document.ts";
import { readExpiry } from "./expiry.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { lintPort } from "./lints.ts";
import type { Cidr, Notes, Place, PortRange } from "./policy.ts";
import { parsePortRange, sortPorts } from "./ports.ts";
import { findSpecialRanges, isPrivateRange } from "./special.ts";

/** An entry of a list, and what stands beside it; null or missing where nothing does. */
export interface Entry {
  readonly place: Place;
  readonly label: string | null;
  readonly ports: readonly PortRange[] | null;
  readonly notes?: Notes;
  readonly answers?: readonly Cidr[];
  readonly expiresS?: number;
}

/** Returns what an entry of a list carries; what is wrong in it goes to the log. */
export function readEntry(entry: string | EntryDetails, pointer: string, log: IssueLog): Entry {
  const place = log.locate(pointer);
  if (typeof entry === "string") return { place, label: null, ports: null };
  const notes = readNotes(entry);
  const expiresS = readExpiry(entry, pointer, log);
  const answers = entry.answers === undefined ? [] : readAnswers(entry.answers, joinPointer(pointer, "answers"), log);
  return {
    place,
    label: entry.label ?? null,
    ports: readPorts(entry.ports, joinPointer(pointer, "ports"), log),
    ...(notes === null ? {} : { notes }),
    ...(answers.length === 0 ? {} : { answers }),
    ...(expiresS === null ? {} : { expiresS }),
  };
}

/** Returns the ports of a list, sorted; null when there is no list. */
export function readPorts(
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

/** Returns what people wrote beside an entry, or null when they wrote nothing. */
export function readNotes({ owner, reason, ticket }: EntryDetails): Notes | null {
  if (owner === undefined && reason === undefined && ticket === undefined) return null;
  return {
    ...(owner === undefined ? {} : { owner }),
    ...(reason === undefined ? {} : { reason }),
    ...(ticket === undefined ? {} : { ticket }),
  };
}

/**
 * Returns private networks that names may resolve to, sorted. A public one is an error, since it would seem to mean a
 * bound that nothing enforces; so is one of addresses that no entry ever opens.
 */
export function readAnswers(entries: readonly string[], pointer: string, log: IssueLog): readonly Cidr[] {
  const answers = new Set<Cidr>();
  for (const [index, text] of entries.entries()) {
    const place = log.locate(joinPointer(pointer, index));
    const parsed = parseCidr(text);
    if (!parsed.ok) {
      log.error(place, parsed.message, parsed.remedy);
      continue;
    }
    const range = cidrRange(parsed.value);
    const special = findSpecialRanges(range).find(({ first, last }) => first <= range.first && range.last <= last);
    if (special !== undefined) {
      const message = `no name may ever resolve to ${parsed.value} (${special.what})`;
      log.error(place, message, "remove it; the gateway does not forward there");
    } else if (!isPrivateRange(range)) {
      const message = `${parsed.value} is not within a private network`;
      log.error(place, message, "remove it; names may resolve to public addresses without it");
    } else answers.add(parsed.value);
  }
  return [...answers].sort(compareCidrs);
}
