import { compareTexts } from "./compare-texts.ts";
import type { PolicyDocument } from "./document.ts";
import { joinRules, NO_RULES } from "./drafts.ts";
import { GLOBAL_GROUP, readHosts } from "./hosts.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { readLabels } from "./labels.ts";
import { readLimits } from "./limits.ts";
import type { Group, Policy, Rules } from "./policy.ts";
import { readRules } from "./rules.ts";

/** A short file can ask for very many: 50,000 names that 5,000 hosts inherit. */
const MAX_RULES = 2_000_000;

/**
 * Returns what a document of valid shape means. Errors go to the log; with one there, the result is not to be used.
 * Meanings: a host's `allow` stands alone unless it inherits; a host without one follows the global lists; under
 * `deny-all` every group is empty, whatever the lists say, so that the mode alone can be written in an emergency.
 */
export function normalizePolicy(document: PolicyDocument, log: IssueLog): Policy {
  const labels = readLabels(document.labels, log);
  const context = { log, labels };
  const mode = document.mode === "deny-all" ? "deny-all" : "enforce";
  const globalRules = readRules(document.allow, "/allow", context);
  const groups: Group[] = [buildGroup(GLOBAL_GROUP, globalRules, "/allow", log)];
  let ruleCount = countRules(globalRules);
  for (const [name, host] of Object.entries(document.hosts ?? {})) {
    if (host.allow === undefined) continue;
    const pointer = joinPointer(joinPointer("/hosts", name), "allow");
    const own = readRules(host.allow, pointer, context);
    const isJoined = host.allow.inherit === true;
    ruleCount += countRules(own) + (isJoined ? countRules(globalRules) : 0);
    if (ruleCount > MAX_RULES) {
      const message = `with what hosts inherit, the policy has more than ${MAX_RULES} rules`;
      log.error(log.locate(pointer, "key"), message, "let fewer hosts inherit, or share one host entry between them");
      break;
    }
    const rules = isJoined ? joinRules([own, globalRules], log) : own;
    groups.push(buildGroup(name, rules, pointer, log));
  }
  labels.reportUnused();
  checkInherit(document, log);
  if (mode === "enforce") checkNotEmpty(groups, log);
  return {
    version: 1,
    mode,
    groups: groups
      .map((group) => (mode === "deny-all" ? { ...group, ...NO_RULES } : group))
      .sort((a, b) => compareTexts(a.name, b.name)),
    hosts: readHosts(document.hosts ?? {}, log),
    limits: readLimits(document.limits, "/limits", log),
  };
}

function countRules({ names, networks }: Rules): number {
  return names.length + networks.length;
}

function buildGroup(name: string, rules: Rules, pointer: string, log: IssueLog): Group {
  return { name, names: rules.names, networks: rules.networks, place: log.locate(pointer, "key") };
}

function checkInherit(document: PolicyDocument, log: IssueLog): void {
  if (document.allow?.inherit === undefined) return;
  const remedy = "write it in the allow of a host";
  log.error(log.locate("/allow/inherit", "key"), "the global allow has nothing to inherit from", remedy);
}

function checkNotEmpty(groups: readonly Group[], log: IssueLog): void {
  if (log.issues.some((issue) => issue.severity === "error")) return;
  if (groups.some((group) => group.names.length > 0 || group.networks.length > 0)) return;
  const remedy = 'list what is allowed, or write "mode": "deny-all" if nothing is';
  log.error(log.locate("/allow", "key"), "the policy allows nothing", remedy);
}
