import { compareTexts } from "../policy/compare-texts.ts";
import { buildDecider, type Decider } from "../policy/decide.ts";
import { hasExpiring } from "../policy/expiring.ts";
import { type Hours, type Schedule, scheduleText } from "../policy/hours.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { Cidr, Group, NamePattern, NetworkRule, Place, Policy, PortRange } from "../policy/policy.ts";
import { scheduleOf } from "../policy/schedules.ts";
import { sampleOf } from "../policy/window-table.ts";
import { groupMarks, networkGrants, networkGrantText } from "./grants.ts";
import { assignMark, SCHEDULE_MAX, SCHEDULE_MIN } from "./marks.ts";
import { refuseRule } from "./tokens.ts";

/** Elements of an interval set with two fields are dear: 500 take the kernel a second, and their number grows with this. */
const MAX_SCHEDULES = 400;

/** A schedule and the number that the kernel knows it by. */
export interface MarkedSchedule {
  readonly mark: number;
  readonly schedule: Schedule;
}

/** A grant of a network that is in force for a group at times. */
export interface TimedPair {
  readonly group: number;
  readonly grant: number;
  readonly schedule: number;
  readonly place: Place;
}

/**
 * Returns every schedule of a policy by its text, with its mark; empty where nothing has hours or expires. The marks
 * depend on the texts alone, unless two collide.
 * @throws AgentError POLICY_INVALID when there are too many.
 */
export function policySchedules(policy: Policy): ReadonlyMap<string, MarkedSchedule> {
  const known = memory.get(policy);
  if (known !== undefined) return known;
  const schedules = markSchedules(policy);
  memory.set(policy, schedules);
  return schedules;
}

/** A long list with hours takes a second to go through, and several artifacts need what is found. */
const memory = new WeakMap<Policy, ReadonlyMap<string, MarkedSchedule>>();

function markSchedules(policy: Policy): ReadonlyMap<string, MarkedSchedule> {
  const found = new Map<string, Schedule>();
  for (const { schedule, place } of findSchedules(policy)) {
    const text = scheduleText(schedule);
    if (found.has(text)) continue;
    found.set(text, schedule);
    if (found.size > MAX_SCHEDULES) {
      const message = `the policy has more than ${MAX_SCHEDULES} different hours and times of expiry`;
      throw refuseRule(place, message, "let entries expire on the same days, and hosts have the same hours");
    }
  }
  const taken = new Set<number>();
  const sorted = [...found].sort(([a], [b]) => compareTexts(a, b));
  return new Map(
    sorted.map(([text, { windows, fromS, untilS }]) => {
      const mark = assignMark(`hours ${text}`, SCHEDULE_MIN, SCHEDULE_MAX, (candidate) => taken.has(candidate));
      taken.add(mark);
      return [text, { mark, schedule: { windows: windows.map(plainHours), fromS, untilS } }];
    }),
  );
}

/** Where hours are written is no part of what they are. */
function plainHours({ days, startS, endS, timeZone }: Hours): Hours {
  return { days, startS, endS, timeZone };
}

/** Returns the mark of a schedule; null for what always holds. @throws RangeError when the policy does not have it. */
export function scheduleMark(
  schedules: ReadonlyMap<string, Pick<MarkedSchedule, "mark">>,
  schedule: Schedule | null,
): number | null {
  if (schedule === null) return null;
  const text = scheduleText(schedule);
  const found = schedules.get(text);
  if (found === undefined) throw new RangeError(`the policy has no hours ${JSON.stringify(text)}`);
  return found.mark;
}

/** Returns when an entry of `deny` denies no more. */
export function lapseOf({ expiresS }: { readonly expiresS?: number }): Schedule | null {
  return expiresS === undefined ? null : { windows: [], fromS: expiresS, untilS: null };
}

interface Found {
  readonly schedule: Schedule;
  readonly place: Place;
}

function* findSchedules(policy: Policy): Generator<Found> {
  if (policy.mode === "deny-all") return;
  for (const { deny } of [policy, ...policy.groups]) {
    for (const denial of deny?.networks ?? []) {
      const schedule = lapseOf(denial);
      if (schedule !== null) yield { schedule, place: denial.place };
    }
  }
  let decider: Decider | null = null;
  for (const group of policy.groups) {
    if (!hasHours(group, policy)) continue;
    yield* networkSchedules(group);
    decider ??= buildDecider(withoutDenials(policy));
    yield* nameSchedules(policy, decider, group);
  }
}

/** Returns a policy without its denials: what is denied until some day has hours from then on. */
export function withoutDenials({ deny: _deny, ...policy }: Policy): Policy {
  return { ...policy, groups: policy.groups.map(({ deny: _own, ...group }) => group) };
}

/** Returns whether anything that a group may reach is open at times only. */
export function hasHours(group: Group, { nameWindows }: Pick<Policy, "nameWindows">): boolean {
  if (group.window !== undefined || group.nameWindows !== undefined || nameWindows !== undefined) return true;
  return hasExpiring(group.names) || hasExpiring(group.networks);
}

/** A network on a range of ports of a group, and when it is open. */
interface TimedRange extends Found {
  readonly network: Cidr;
  readonly range: PortRange;
}

function* networkSchedules(group: Group): Generator<TimedRange> {
  const windows = group.window === undefined ? [] : [group.window];
  for (const rules of rulesByNetwork(group).values()) {
    for (const { network, ports, place } of rules) {
      for (const range of ports) {
        const schedule = scheduleOf({ rules, expired: [], windows }, range);
        if (schedule !== null) yield { network, range, schedule, place };
      }
    }
  }
}

function rulesByNetwork({ networks }: Group): ReadonlyMap<string, readonly NetworkRule[]> {
  const found = new Map<string, NetworkRule[]>();
  for (const rule of networks) {
    const known = found.get(rule.network);
    if (known === undefined) found.set(rule.network, [rule]);
    else known.push(rule);
  }
  return found;
}

/**
 * All names whose most specific pattern is the same have the same rules and hours. So the schedules of the patterns
 * are those of all names.
 */
function* nameSchedules(policy: Policy, decider: Decider, group: Group): Generator<Found> {
  for (const { pattern, place } of hoursPatterns(policy, group)) {
    const decision = decider.decideName({ host: null, group }, sampleOf(pattern));
    if (decision.verdict === "deny") continue;
    for (const range of decision.ports) {
      const schedule = scheduleOf(decision.basis, range);
      if (schedule !== null) yield { schedule, place };
    }
  }
}

/** Returns every pattern that makes a difference to the hours of a group's names, each once. */
export function hoursPatterns(
  { nameWindows }: Pick<Policy, "nameWindows">,
  group: Group,
): Iterable<{ readonly pattern: NamePattern; readonly place: Place }> {
  const entries = [...group.names, ...(group.nameWindows ?? []), ...(nameWindows ?? [])];
  return new Map(entries.map(({ pattern, place }) => [patternText(pattern), { pattern, place }])).values();
}

/** A grant of a network that is in force for a group at times, and when. */
interface TimedGrant extends Found {
  readonly group: number;
  readonly grant: number;
}

/** Yields the grants of networks that are in force at times, each with its group; a grant may come twice. */
export function* timedGrants(policy: Policy): Generator<TimedGrant> {
  if (policy.mode === "deny-all") return;
  const timed = policy.groups.filter((group) => hasHours(group, {}));
  if (timed.length === 0) return;
  const groups = groupMarks(policy);
  const grants = networkGrants(policy);
  for (const group of timed) {
    const groupMark = groups.get(group.name);
    for (const { network, range, schedule, place } of networkSchedules(group)) {
      const grant = grants.get(networkGrantText(network, range));
      if (groupMark !== undefined && grant !== undefined) yield { group: groupMark, grant, schedule, place };
    }
  }
}

/** Returns the grants of networks that are in force at times, each with its group and schedule; sorted, without repetition. */
export function timedNetworks(
  policy: Policy,
  schedules: ReadonlyMap<string, Pick<MarkedSchedule, "mark">>,
): readonly TimedPair[] {
  const pairs = new Map<string, TimedPair>();
  for (const { group, grant, schedule: own, place } of timedGrants(policy)) {
    const schedule = scheduleMark(schedules, own);
    if (schedule !== null) pairs.set(`${group} ${grant}`, { group, grant, schedule, place });
  }
  return [...pairs.values()].sort((a, b) => a.group - b.group || a.grant - b.grant);
}
