import { type AddressRange, cidrRange } from "../policy/cidr.ts";
import { compareReach, type ReachChange } from "../policy/compare-reach.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Place, Policy } from "../policy/policy.ts";
import type { Lock } from "./lock.ts";
import { fitsAny } from "./patterns.ts";
import type { Role, Root, Rule } from "./root.ts";

/** Who has to approve a lock: so many of these people. A lock may need several, and all of them must be met. */
export interface Requirement {
  /** `policy`, or the name of a rule of the root. */
  readonly rule: string;
  /** True when it lets nothing more through, and so fewer may do. */
  readonly tightens: boolean;
  readonly principals: readonly string[];
  readonly threshold: number;
}

export const POLICY_RULE = "policy";

/** What a lock is a step from and to. */
export interface LockStep {
  readonly root: Root;
  /** The rule whose lock it is; null: the common one. */
  readonly part: Rule | null;
  /** What was verified last; null when nothing was, or when it is not known any more. */
  readonly before: State | null;
  readonly after: State;
  /**
   * True when the lock has the serial right after the one verified last. Only then do the fewer people of `tighten` do:
   * a state in between may have closed what this one, seen from here, only leaves open.
   */
  readonly isNext: boolean;
}

export interface State {
  /** Files of this lock. */
  readonly files: Lock["files"];
  /** What all locks together mean; null when it is no policy that this version reads. */
  readonly policy: Policy | null;
}

/** Returns whether who must approve can depend on what a change means; if not, nobody needs to look at policies. */
export function dependsOnMeaning({ roles, rules }: Root): boolean {
  return rules.length > 0 || roles.policy.tighten < roles.policy.threshold;
}

/** Returns what the role `policy` asks for whatever a change means. */
export function fullRequirement({ roles }: Root): Requirement {
  return requirementOf(POLICY_RULE, roles.policy, false);
}

/** Returns what an earlier verdict asked for, by the root in force now; the role `policy` where a rule is gone. */
export function renewRequirement(root: Root, { rule, tightens }: Pick<Requirement, "rule" | "tightens">): Requirement {
  const found = root.rules.find(({ name }) => name === rule);
  return requirementOf(found === undefined ? POLICY_RULE : rule, found ?? root.roles.policy, tightens);
}

/**
 * Returns who has to approve a step, never an empty list. The role `policy` approves everything that no rule gives to
 * others: files by their paths, and changes that reach no further than some hosts.
 */
export function requireApprovals(step: LockStep): readonly Requirement[] {
  const { root, part, before, after, isNext } = step;
  if (before === null || before.policy === null || after.policy === null) {
    return part === null ? [fullRequirement(root)] : [requirementOf(part.name, part, false), fullRequirement(root)];
  }
  const changes = compareReach(before.policy, after.policy);
  const tightens = isNext && !changes.some(({ widens }) => widens);
  const rules =
    part === null ? rulesFor(root, before.files, after.files, changes) : rulesOfPart(part, before, after, changes);
  const names = [...new Set(rules)].sort(compareTexts);
  return names.map((rule) => renewRequirement(root, { rule, tightens }));
}

function requirementOf(rule: string, { principals, threshold, tighten }: Role, tightens: boolean): Requirement {
  return { rule, tightens, principals, threshold: tightens ? tighten : threshold };
}

/** Of each changed file the first rule that is for it and holds the change in; else, by whom it reaches. */
function rulesFor(
  root: Root,
  before: Lock["files"],
  after: Lock["files"],
  changes: readonly ReachChange[],
): readonly string[] {
  const paths = new Set([...Object.keys(before), ...Object.keys(after)]);
  const changed = [...paths].filter((path) => before[path] !== after[path]);
  const common = root.rules.filter(({ lock }) => !lock);
  const byFile = changed.map((path) =>
    common.find((rule) => rule.files !== null && fitsAny(rule.files, path) && staysWithin(rule, changes)),
  );
  const owners = byFile.map((rule) => rule?.name);
  if (changed.length > 0 && owners.every((name) => name !== undefined))
    return owners.filter((name) => name !== undefined);
  const hostRules = common.filter(({ files }) => files === null);
  const byHost = changes.map((change) => hostRules.find((rule) => staysWithin(rule, [change]))?.name ?? POLICY_RULE);
  // What changes nothing for anybody is still a change of the text that people have to read.
  return [...owners.filter((name) => name !== undefined), ...(byHost.length === 0 ? [POLICY_RULE] : byHost)];
}

/** A part may be others' too: what its files say must be about its own hosts, or the role `policy` has to agree. */
function rulesOfPart(part: Rule, before: State, after: State, changes: readonly ReachChange[]): readonly string[] {
  const own = changes.filter((change) => part.hosts === null || touches(part.hosts, change));
  const isWithin =
    part.hosts === null ||
    (after.policy !== null &&
      findForeign(part.hosts, after.policy, after.files) === null &&
      (before.policy === null || findForeign(part.hosts, before.policy, before.files) === null) &&
      staysWithin(part, own));
  return isWithin ? [part.name] : [part.name, POLICY_RULE];
}

function touches(hosts: readonly string[], { before, after }: ReachChange): boolean {
  return [before, after].some((name) => name !== null && fitsAny(hosts, name));
}

/** Returns whether changes reach nobody but hosts of the rule, and take addresses from nowhere but its sources. */
function staysWithin({ hosts, sources }: Rule, changes: readonly ReachChange[]): boolean {
  if (hosts === null) return true;
  return changes.every(({ before, after, ranges }) => {
    const names = [before, after].filter((name) => name !== null);
    if (names.length === 0 || !names.every((name) => fitsAny(hosts, name))) return false;
    return before === after || ranges.every((range) => liesWithin(range, sources ?? []));
  });
}

function liesWithin(range: AddressRange, networks: readonly Parameters<typeof cidrRange>[0][]): boolean {
  return networks.some((network) => {
    const { family, first, last } = cidrRange(network);
    return family === range.family && first <= range.first && range.last <= last;
  });
}

/** Returns the place of something in the files that is about others than these hosts; null when there is nothing. */
function findForeign(hosts: readonly string[], policy: Policy, files: Lock["files"]): Place | null {
  const isOwn = ({ file }: Place): boolean => Object.hasOwn(files, file);
  const followers = new Map<string, boolean>([["*", false]]);
  for (const { name, group } of policy.hosts) {
    followers.set(group, (followers.get(group) ?? true) && fitsAny(hosts, name));
  }
  const foreignHost = policy.hosts.find(({ name, place }) => isOwn(place) && !fitsAny(hosts, name));
  const shared = [...(policy.deny?.names ?? []), ...(policy.deny?.networks ?? []), ...(policy.forward ?? [])];
  const inGroups = policy.groups.flatMap((group) => {
    if (followers.get(group.name) === true) return [];
    const { names, networks, deny } = group;
    return [...names, ...networks, ...(deny?.names ?? []), ...(deny?.networks ?? [])];
  });
  return foreignHost?.place ?? [...shared, ...inGroups].find(({ place }) => isOwn(place))?.place ?? null;
}
