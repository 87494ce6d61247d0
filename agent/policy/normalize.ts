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
import type { Denials, Group, Policy, Rules } from "./policy.ts";
import { readRules } from "./rules.ts";
import type { PolicySource } from "./source-document.ts";

/** A short file can ask for very many: 50,000 names that 5,000 hosts inherit. */
const MAX_RULES = 2_000_000;

/**
 * Returns what the files of a policy mean, itself first. Errors go to their logs; with one there, the result is not to
 * be used. Meanings: a host's `allow` stands alone unless it inherits; a host without one follows the global lists;
 * under `deny-all` every group is empty, whatever the lists say, so that the mode alone can be written in an emergency.
 * Included files add to the global lists, labels, groups and hosts.
 */
export function normalizePolicy(sources: readonly [PolicySource, ...PolicySource[]]): Policy {
  const [{ document, log }] = sources;
  const labels = readLabels(sources);
  const lists = readNamedLists(sources, labels);
  const hosts = collectHosts(sources);
  const mode = document.mode ?? "enforce";
  const budget = { left: MAX_RULES };
  const readAllow = (allow: AllowDocument, pointer: string, ownLog: IssueLog): readonly Rules[] => [
    readRules(allow, pointer, { log: ownLog, labels }),
    ...lists.take(allow, pointer, ownLog),
  ];
  const join = (sets: readonly Rules[], pointer: string, ownLog: IssueLog): Rules | null => {
    if (!spend(budget, sets, ownLog, pointer)) return null;
    return sets.length === 1 ? (sets[0] ?? NO_RULES) : joinRules(sets, ownLog);
  };
  const globalSets = sources.flatMap((source) =>
    source.document.allow === undefined ? [] : readAllow(source.document.allow, "/allow", source.log),
  );
  const globalRules = join(globalSets, "/allow", log) ?? NO_RULES;
  const denied = readDeny(
    sources.map((source) => ({ deny: source.document.deny, pointer: "/deny", log: source.log })),
    labels,
  );
  const groups: Group[] = [
    { name: GLOBAL_GROUP, ...globalRules, ...ownMode(mode), place: log.locate("/allow", "key") },
  ];
  for (const { name, host, pointer, log: ownLog } of hosts) {
    if (!hasOwnRules(host, mode)) continue;
    const allowPointer = joinPointer(pointer, "allow");
    const own = host.allow === undefined ? [] : readAllow(host.allow, allowPointer, ownLog);
    const isJoined = host.allow === undefined || host.allow.inherit === true;
    const rules = join(isJoined ? [...own, globalRules] : own, allowPointer, ownLog);
    if (rules === null) break;
    const place = ownLog.locate(host.allow === undefined ? pointer : allowPointer, "key");
    const deny = readDeny([{ deny: host.deny, pointer: joinPointer(pointer, "deny"), log: ownLog }], labels);
    const written = host.mode ?? mode;
    groups.push({ name, ...(written === "deny-all" ? NO_RULES : rules), ...deny, ...ownMode(written), place });
  }
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
    groups: groups
      .map(({ mode: own, ...group }) =>
        mode === "deny-all" ? { ...group, ...NO_RULES } : { ...group, ...(own === undefined ? {} : { mode: own }) },
      )
      .sort((a, b) => compareTexts(a.name, b.name)),
    hosts: readHosts(hosts, mode),
    limits: readLimits(document.limits, "/limits", log),
  };
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
