import { compareTexts } from "./compare-texts.ts";
import { readDenials } from "./denials.ts";
import type { AllowDocument, DenyDocument } from "./document.ts";
import { joinRules, NO_RULES } from "./drafts.ts";
import { GLOBAL_GROUP, hasOwnRules, readHosts } from "./hosts.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { readLabels } from "./labels.ts";
import { readLimits } from "./limits.ts";
import { readNamedLists } from "./named-lists.ts";
import type { Denials, Group, Policy, Rules } from "./policy.ts";
import { readRules } from "./rules.ts";
import type { PolicySource } from "./source-document.ts";

/** A short file can ask for very many: 50,000 names that 5,000 hosts inherit. */
const MAX_RULES = 2_000_000;

/**
 * Returns what the document of a policy means. Errors go to the log; with one there, the result is not to be used.
 * Meanings: a host's `allow` stands alone unless it inherits; a host without one follows the global lists; under
 * `deny-all` every group is empty, whatever the lists say, so that the mode alone can be written in an emergency.
 */
export function normalizePolicy(source: PolicySource): Policy {
  const { document, log } = source;
  const labels = readLabels(document.labels, log);
  const lists = readNamedLists([source], labels);
  const mode = document.mode === "deny-all" ? "deny-all" : "enforce";
  const budget = { left: MAX_RULES };
  const readAllow = (allow: AllowDocument, pointer: string, inherited: readonly Rules[]): Rules | null => {
    const own = readRules(allow, pointer, { log, labels });
    const all = [own, ...lists.take(allow, pointer, log), ...inherited];
    if (!spend(budget, all, log, pointer)) return null;
    return all.length === 1 ? own : joinRules(all, log);
  };
  const globalRules = document.allow === undefined ? NO_RULES : (readAllow(document.allow, "/allow", []) ?? NO_RULES);
  const readDeny = (deny: DenyDocument | undefined, pointer: string): { readonly deny?: Denials } => {
    const denials = deny === undefined ? NO_RULES : readDenials([{ deny, pointer, context: { log, labels } }]);
    return denials.names.length + denials.networks.length === 0 ? {} : { deny: denials };
  };
  const denied = readDeny(document.deny, "/deny");
  const groups: Group[] = [{ name: GLOBAL_GROUP, ...globalRules, place: log.locate("/allow", "key") }];
  for (const [name, host] of Object.entries(document.hosts ?? {})) {
    if (!hasOwnRules(host)) continue;
    const pointer = joinPointer("/hosts", name);
    const allowPointer = joinPointer(pointer, "allow");
    const inherited = host.allow === undefined || host.allow.inherit === true ? [globalRules] : [];
    const rules = readAllow(host.allow ?? {}, allowPointer, inherited);
    if (rules === null) break;
    const place = log.locate(host.allow === undefined ? pointer : allowPointer, "key");
    groups.push({ name, ...rules, ...readDeny(host.deny, joinPointer(pointer, "deny")), place });
  }
  labels.reportUnused();
  lists.reportUnused();
  checkInherit(document.allow, log);
  if (mode === "enforce") checkNotEmpty(groups, log);
  return {
    version: 1,
    mode,
    ...denied,
    groups: groups
      .map((group) => (mode === "deny-all" ? { ...group, ...NO_RULES } : group))
      .sort((a, b) => compareTexts(a.name, b.name)),
    hosts: readHosts(document.hosts ?? {}, log),
    limits: readLimits(document.limits, "/limits", log),
  };
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
