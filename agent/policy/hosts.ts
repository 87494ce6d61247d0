import { cidrRange, compareCidrs, parseCidr } from "./cidr.ts";
import { compareTexts } from "./compare-texts.ts";
import type { HostDocument, Mode } from "./document.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { readLimits } from "./limits.ts";
import { quoteText } from "./parsed.ts";
import type { Cidr, HostEntry, Place } from "./policy.ts";
import type { PolicySource } from "./source-document.ts";
import { findSpecialRanges } from "./special.ts";

/** The name of the group of clients that have no `allow` of their own. */
export const GLOBAL_GROUP = "*";

/**
 * Returns whether a host needs a group of its own: its rules, hours or mode are not those of the clients of no host, or
 * what it sends is counted.
 */
export function hasOwnRules(host: HostDocument, globalMode: Mode): boolean {
  const { allow, deny, mode, exfil, time_window: window, domain_time_windows: nameWindows } = host;
  const hasOwnMode = globalMode !== "deny-all" && mode !== undefined && mode !== globalMode;
  return [allow, deny, exfil, window, nameWindows].some((part) => part !== undefined) || hasOwnMode;
}

/** A host as written, and where. */
export interface WrittenHost {
  readonly name: string;
  readonly host: HostDocument;
  readonly pointer: string;
  readonly log: IssueLog;
}

/** Returns the hosts of all files, in the order of the text; one that two files write is an error. */
export function collectHosts(sources: readonly PolicySource[]): readonly WrittenHost[] {
  const hosts = new Map<string, WrittenHost & { readonly place: Place }>();
  for (const { document, log } of sources) {
    for (const [name, host] of Object.entries(document.hosts ?? {})) {
      const pointer = joinPointer("/hosts", name);
      const place = log.locate(pointer, "key");
      const earlier = hosts.get(name);
      if (earlier === undefined) hosts.set(name, { name, host, pointer, log, place });
      else {
        const message = `the host ${quoteText(name)} is already in ${whereIs(earlier.place, place)}`;
        log.error(place, message, "write it once, or give one of them another name");
      }
    }
  }
  return [...hosts.values()];
}

/**
 * Returns the host entries sorted by name, each with the group of its own name if there is one, else the global one. A
 * source that is no network, or that two hosts have, is an error.
 */
export function readHosts(hosts: readonly WrittenHost[], groups: ReadonlySet<string>): readonly HostEntry[] {
  const owners = new Map<Cidr, { readonly host: string; readonly place: Place }>();
  const entries = hosts.map(({ name, host, pointer, log }): HostEntry => {
    const sources: Cidr[] = [];
    for (const [index, text] of host.sources.entries()) {
      const place = log.locate(joinPointer(joinPointer(pointer, "sources"), index));
      const source = readSource(text, place, log);
      if (source === null) continue;
      const owner = owners.get(source);
      if (owner !== undefined) {
        const whose = owner.host === name ? "this host" : `host ${quoteText(owner.host)}`;
        const message = `${source} is already a source of ${whose} (${whereIs(owner.place, place)})`;
        log.error(place, message, "remove one of them");
        continue;
      }
      owners.set(source, { host: name, place });
      sources.push(source);
    }
    return {
      name,
      sources: sources.sort(compareCidrs),
      group: groups.has(name) ? name : GLOBAL_GROUP,
      limits: readLimits(host.limits, joinPointer(pointer, "limits"), log),
      place: log.locate(pointer, "key"),
    };
  });
  return entries.sort((a, b) => compareTexts(a.name, b.name));
}

function readSource(text: string, place: Place, log: IssueLog): Cidr | null {
  const parsed = parseCidr(text);
  if (!parsed.ok) {
    log.error(place, parsed.message, parsed.remedy);
    return null;
  }
  const range = cidrRange(parsed.value);
  const special = findSpecialRanges(range).find(({ first, last }) => first <= range.first && range.last <= last);
  if (special !== undefined) {
    log.error(
      place,
      `${parsed.value} is never a client's address (${special.what})`,
      "write the address of the client",
    );
    return null;
  }
  if (parsed.value.endsWith("/0")) {
    log.warn(place, `${parsed.value} makes this host every client`, "write its rules as the global allow");
  }
  return parsed.value;
}
