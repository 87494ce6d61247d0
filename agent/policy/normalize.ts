import { MAX_CAPS, readCaps } from "./caps.ts";
import { compareTexts } from "./compare-texts.ts";
import { readDenials } from "./denials.ts";
import type { AllowDocument, DenyDocument, Mode } from "./document.ts";
import { joinRules, NO_RULES } from "./drafts.ts";
import { readForwardZones } from "./forward-zones.ts";
import { collectHosts, GLOBAL_GROUP, hasOwnRules, readHosts, type WrittenHost } from "./hosts.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { type LabelBook, readLabels } from "./labels.ts";
import { readLimits } from "./limits.ts";
import { readNamedLists } from "./named-lists.ts";
import type { Denials, Group, NamePattern, NameWindow, Place, Policy, Rules, Window } from "./policy.ts";
import type { PolicyMemory } from "./policy-memory.ts";
import {
  applyProxy,
  hasOwnProxy,
  lintProxied,
  lintUnusedList,
  type ProxyMeaning,
  readGlobalProxy,
  readHostProxy,
} from "./proxy-rules.ts";
import { readRules } from "./rules.ts";
import type { PolicySource } from "./source-document.ts";
import { lintNameWindows, readNameWindows, readWindow } from "./windows.ts";

/** A short file can ask for very many: 50,000 names that 5,000 hosts inherit. */
const MAX_RULES = 2_000_000;

/**
 * Returns what the files of a policy mean, itself first. Errors go to their logs; with one there, the result is not to
 * be used. Meanings: a host's `allow` stands alone unless it inherits; a host without one follows the global lists;
 * under `deny-all` every group is empty, whatever the lists say, so that the mode alone can be written in an emergency.
 * Included files add to the global lists, labels, groups and hosts.
 */
export function normalizePolicy(sources: readonly [PolicySource, ...PolicySource[]], memory?: PolicyMemory): Policy {
  const [{ document, log }] = sources;
  const labels = readLabels(sources);
  const lists = readNamedLists(sources, labels, memory);
  const hosts = collectHosts(sources);
  const mode = document.mode ?? "enforce";
  const everyone = readGlobalProxy(document, { log, labels });
  const budget = { left: MAX_RULES };
  const readAllow = (allow: AllowDocument, pointer: string, ownLog: IssueLog): readonly Rules[] => [
    readRules(allow, pointer, { log: ownLog, labels, memory }),
    ...lists.take(allow, pointer, ownLog),
  ];
  const globalSets = sources.flatMap((source) =>
    source.document.allow === undefined ? [] : readAllow(source.document.allow, "/allow", source.log),
  );
  const globalRules = spend(budget, globalSets, log, "/allow") ? joinSets(globalSets, log) : NO_RULES;
  lintProxied(globalRules, everyone, log);
  const denied = readDeny(
    sources.map((source) => ({ deny: source.document.deny, pointer: "/deny", log: source.log })),
    labels,
  );
  const window = readWindow(document.time_window, "/time_window", log);
  const nameWindows = readNameWindows(document.domain_time_windows, "/domain_time_windows", log);
  const global = buildGroup(
    GLOBAL_GROUP,
    applyProxy(globalRules, everyone, log),
    everyone,
    mode,
    log.locate("/allow", "key"),
  );
  const groups: Group[] = [{ ...global, ...ownHours(window, []) }];
  const common: Common = { labels, mode, everyone, globalRules, readAllow, budget, window };
  for (const written of hosts) {
    if (!hasOwnRules(written.host, mode) && !hasOwnProxy(written.host.proxy, everyone)) continue;
    const group = readHostGroup(written, common);
    if (group === null) break;
    groups.push(group);
  }
  lintUnusedList(
    everyone,
    groups.some((group) => group.isProxied),
    "/proxy",
    log,
  );
  checkCaps(groups, log);
  lintNameWindows(nameWindows, nameWindows.length === 0 ? [] : groups.flatMap(patternsOf), log);
  const forward = readForwardZones(document.dns?.forward, log);
  labels.reportUnused();
  lists.reportUnused();
  for (const source of sources) checkInherit(source.document.allow, source.log);
  if (mode === "enforce") checkNotEmpty(groups, log);
  warnOfAudit(sources, hosts);
  return {
    version: 1,
    mode,
    ...(forward.length === 0 ? {} : { forward }),
    ...denied,
    ...(nameWindows.length === 0 ? {} : { nameWindows }),
    groups: groups
      .map(({ mode: own, ...group }) =>
        mode === "deny-all" ? { ...group, ...NO_RULES } : { ...group, ...(own === undefined ? {} : { mode: own }) },
      )
      .sort((a, b) => compareTexts(a.name, b.name)),
    hosts: readHosts(hosts, new Set(groups.map((group) => group.name))),
    limits: readLimits(document.limits, "/limits", log),
  };
}

interface Common {
  readonly labels: LabelBook;
  readonly mode: Mode;
  readonly everyone: ProxyMeaning;
  readonly globalRules: Rules;
  readonly readAllow: (allow: AllowDocument, pointer: string, log: IssueLog) => readonly Rules[];
  readonly budget: { left: number };
  readonly window: Window | null;
}

/** Returns the group of a host that has rules of its own, or null when the policy has too many. */
function readHostGroup({ name, host, pointer, log }: WrittenHost, common: Common): Group | null {
  const { labels, mode, everyone, globalRules, readAllow, budget } = common;
  const allowPointer = joinPointer(pointer, "allow");
  const proxyPointer = joinPointer(pointer, "proxy");
  const proxy = readHostProxy(host.proxy, proxyPointer, everyone, { log, labels });
  const sets = host.allow === undefined ? [] : readAllow(host.allow, allowPointer, log);
  const isJoined = host.allow === undefined || host.allow.inherit === true;
  if (!spend(budget, isJoined ? [...sets, globalRules] : sets, log, allowPointer)) return null;
  const own = joinSets(sets, log);
  lintProxied(own, proxy, log);
  lintUnusedList(proxy, proxy.isProxied, proxyPointer, log);
  const rules = joinScopes({ own, inherited: isJoined ? globalRules : NO_RULES, proxy, everyone, log });
  const deny = readDeny([{ deny: host.deny, pointer: joinPointer(pointer, "deny"), log }], labels);
  const written = host.mode ?? mode;
  const place = log.locate(placeOfRules(host, pointer), "key");
  const caps = readCaps(host.exfil, joinPointer(pointer, "exfil"), rules.names, log);
  const window = readWindow(host.time_window, joinPointer(pointer, "time_window"), log) ?? common.window;
  const nameWindows = readNameWindows(host.domain_time_windows, joinPointer(pointer, "domain_time_windows"), log);
  const group = buildGroup(name, written === "deny-all" ? NO_RULES : rules, proxy, written, place);
  lintNameWindows(nameWindows, patternsOf(group), log);
  return { ...group, ...ownHours(window, nameWindows), ...deny, ...(caps.length === 0 ? {} : { caps }) };
}

function ownHours(
  window: Window | null,
  nameWindows: readonly NameWindow[],
): { readonly window?: Window; readonly nameWindows?: readonly NameWindow[] } {
  return { ...(window === null ? {} : { window }), ...(nameWindows.length === 0 ? {} : { nameWindows }) };
}

function patternsOf({ names }: Group): readonly NamePattern[] {
  return names.map(({ pattern }) => pattern);
}

function ownMode(mode: Mode): { readonly mode?: "audit" | "deny-all" } {
  return mode === "enforce" ? {} : { mode };
}

function warnOfAudit([main]: readonly [PolicySource, ...PolicySource[]], hosts: readonly WrittenHost[]): void {
  const remedy = 'write "enforce" when the records show nothing that is missed';
  const message = "audit: what the policy denies is recorded and let pass, but for private and reserved addresses";
  if (main.document.mode === "audit") main.log.warn(main.log.locate("/mode"), message, remedy);
  for (const { host, pointer, log } of hosts) {
    if (host.mode === "audit" && main.document.mode !== "deny-all")
      log.warn(log.locate(joinPointer(pointer, "mode")), message, remedy);
  }
}

interface Scopes {
  readonly own: Rules;
  readonly inherited: Rules;
  readonly proxy: ProxyMeaning;
  readonly everyone: ProxyMeaning;
  readonly log: IssueLog;
}

function joinSets(sets: readonly Rules[], log: IssueLog): Rules {
  return sets.length < 2 ? (sets[0] ?? NO_RULES) : joinRules(sets, log);
}

/** A host's list of TLS names holds for all that it has; without one, what it inherits keeps the global list. */
function joinScopes({ own, inherited, proxy, everyone, log }: Scopes): Rules {
  if (inherited === NO_RULES) return applyProxy(own, proxy, log);
  if (proxy.tlsNames !== null) return applyProxy(joinRules([own, inherited], log), proxy, log);
  const theirs = applyProxy(inherited, { ...proxy, tlsNames: everyone.tlsNames }, log);
  return own === NO_RULES ? theirs : joinRules([applyProxy(own, proxy, log), theirs], log);
}

/** Under audit nothing goes through the proxy: it would end what has no readable name, and an audit ends nothing. */
function buildGroup(name: string, rules: Rules, { isProxied }: ProxyMeaning, mode: Mode, place: Place): Group {
  return { name, ...rules, isProxied: isProxied && mode !== "audit", ...ownMode(mode), place };
}

/** Where the rules of a host with a group of its own are written. */
function placeOfRules(host: WrittenHost["host"], pointer: string): string {
  if (host.allow !== undefined) return joinPointer(pointer, "allow");
  return host.proxy === undefined ? pointer : joinPointer(pointer, "proxy");
}

interface WrittenDeny {
  readonly deny: DenyDocument | undefined;
  readonly pointer: string;
  readonly log: IssueLog;
}

function readDeny(written: readonly WrittenDeny[], labels: LabelBook): { readonly deny?: Denials } {
  const denials = readDenials(
    written.flatMap(({ deny, pointer, log }) =>
      deny === undefined ? [] : [{ deny, pointer, context: { log, labels } }],
    ),
  );
  return denials.names.length + denials.networks.length === 0 ? {} : { deny: denials };
}

/** Takes rules from what a policy may have in all; returns false, and says so, when they are too many. */
function spend(budget: { left: number }, sets: readonly Rules[], log: IssueLog, pointer: string): boolean {
  budget.left -= sets.reduce((sum, { names, networks }) => sum + names.length + networks.length, 0);
  if (budget.left >= 0) return true;
  const message = `with what hosts inherit and groups add, the policy has more than ${MAX_RULES} rules`;
  log.error(log.locate(pointer, "key"), message, "let fewer hosts inherit, or share one host entry between them");
  return false;
}

function checkCaps(groups: readonly Group[], log: IssueLog): void {
  const count = groups.reduce((sum, { caps }) => sum + (caps?.length ?? 0), 0);
  if (count <= MAX_CAPS) return;
  const message = `the hosts have ${count} byte caps; at most ${MAX_CAPS} are counted`;
  log.error(log.locate("/hosts", "key"), message, "use wildcards: all names of one share a cap");
}

function checkInherit(allow: AllowDocument | undefined, log: IssueLog): void {
  if (allow?.inherit === undefined) return;
  const remedy = "write it in the allow of a host";
  log.error(log.locate("/allow/inherit", "key"), "the global allow has nothing to inherit from", remedy);
}

function checkNotEmpty(groups: readonly Group[], log: IssueLog): void {
  if (log.issues.some((issue) => issue.severity === "error")) return;
  if (groups.some((group) => group.names.length > 0 || group.networks.length > 0)) return;
  const remedy = 'list what is allowed, or write "mode": "deny-all" if nothing is';
  log.error(log.locate("/allow", "key"), "the policy allows nothing", remedy);
}
