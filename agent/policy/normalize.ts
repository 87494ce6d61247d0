import { compareTexts } from "./compare-texts.ts";
import type { PolicyDocument } from "./document.ts";
import { GLOBAL_GROUP, readHosts } from "./hosts.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { readLabels } from "./labels.ts";
import { readLimits } from "./limits.ts";
import type { Group, Place, Policy } from "./policy.ts";
import {
  applyProxy,
  hasOwnProxy,
  lintProxied,
  lintUnusedList,
  type ProxyMeaning,
  readGlobalProxy,
  readHostProxy,
} from "./proxy-rules.ts";
import { joinRules, NO_RULES, type Rules, readRules } from "./rules.ts";

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
  const everyone = readGlobalProxy(document, context);
  const globalRules = readRules(document.allow, "/allow", context);
  lintProxied(globalRules, everyone, log);
  const groups = [
    buildGroup(GLOBAL_GROUP, applyProxy(globalRules, everyone, log), everyone, log.locate("/allow", "key")),
  ];
  let ruleCount = countRules(globalRules);
  for (const [name, host] of Object.entries(document.hosts ?? {})) {
    if (host.allow === undefined && !hasOwnProxy(host.proxy, everyone)) continue;
    const pointer = joinPointer("/hosts", name);
    const allowPointer = joinPointer(pointer, "allow");
    const proxyPointer = joinPointer(pointer, "proxy");
    const place = log.locate(host.allow === undefined ? proxyPointer : allowPointer, "key");
    const proxy = readHostProxy(host.proxy, proxyPointer, everyone, context);
    const own = readRules(host.allow, allowPointer, context);
    lintProxied(own, proxy, log);
    lintUnusedList(proxy, proxy.isProxied, proxyPointer, log);
    const isJoined = host.allow === undefined || host.allow.inherit === true;
    ruleCount += countRules(own) + (isJoined ? countRules(globalRules) : 0);
    if (ruleCount > MAX_RULES) {
      const message = `with what hosts inherit, the policy has more than ${MAX_RULES} rules`;
      log.error(place, message, "let fewer hosts inherit, or share one host entry between them");
      break;
    }
    const inherited = isJoined ? globalRules : NO_RULES;
    groups.push(buildGroup(name, joinScopes({ own, inherited, proxy, everyone, log }), proxy, place));
  }
  lintUnusedList(
    everyone,
    groups.some((group) => group.isProxied),
    "/proxy",
    log,
  );
  labels.reportUnused();
  checkInherit(document, log);
  if (mode === "enforce") checkNotEmpty(groups, log);
  return {
    version: 1,
    mode,
    groups: groups
      .map((group) => (mode === "deny-all" ? { ...group, ...NO_RULES } : group))
      .sort((a, b) => compareTexts(a.name, b.name)),
    hosts: readHosts(document.hosts ?? {}, new Set(groups.map((group) => group.name)), log),
    limits: readLimits(document.limits, "/limits", log),
  };
}

function countRules({ names, networks }: Rules): number {
  return names.length + networks.length;
}

interface Scopes {
  readonly own: Rules;
  readonly inherited: Rules;
  readonly proxy: ProxyMeaning;
  readonly everyone: ProxyMeaning;
  readonly log: IssueLog;
}

/** A host's list of TLS names holds for all that it has; without one, what it inherits keeps the global list. */
function joinScopes({ own, inherited, proxy, everyone, log }: Scopes): Rules {
  if (inherited === NO_RULES) return applyProxy(own, proxy, log);
  if (proxy.tlsNames !== null) return applyProxy(joinRules(own, inherited, log), proxy, log);
  const theirs = applyProxy(inherited, { ...proxy, tlsNames: everyone.tlsNames }, log);
  return joinRules(applyProxy(own, proxy, log), theirs, log);
}

function buildGroup(name: string, { names, networks }: Rules, { isProxied }: ProxyMeaning, place: Place): Group {
  return { name, names, networks, isProxied, place };
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
