import { buildDecider, type Decider } from "../policy/decide.ts";
import { nextInterval, type Schedule } from "../policy/hours.ts";
import type { Denials, Group, Policy, PortRange } from "../policy/policy.ts";
import { includesPort } from "../policy/ports.ts";
import { HTTP_PORT, TLS_PORT } from "../policy/proxied.ts";
import { type Instant, scheduleOfAny } from "../policy/schedules.ts";
import { sampleOf } from "../policy/window-table.ts";
import { hasHours, hoursPatterns, withoutDenials } from "./policy-hours.ts";
import { nameKey } from "./proxy-names.ts";
import { groupToken, numberToken } from "./tokens.ts";

/** What the proxy reads beside a name: when it closes, in seconds since the epoch, or one of these. */
const CLOSED = 0;
const EXPIRED = -1;
const ALWAYS_S = 9_000_000_000;

/** A name or wildcard of a group that is open at times, by the proxy's plane. */
interface TimedName {
  readonly key: string;
  readonly schedule: Schedule | null;
}

/**
 * Returns the lines that say how long names are open at an instant, as the proxy compares them with its clock: the most
 * specific one of a name counts, and a name without any is always open. For a release (null) all of them are closed, so
 * that its bytes do not depend on the time, and nothing is open before somebody who knows it says so.
 */
export function proxyHours(policy: Policy, at: Instant): readonly string[] {
  return timedNames(policy).map(({ key, schedule }) => `${key} ${valueAt(schedule, at)}`);
}

function valueAt(schedule: Schedule | null, at: Instant): string {
  if (schedule === null) return numberToken(ALWAYS_S, 0, ALWAYS_S);
  if (typeof at !== "number") return String(CLOSED);
  if (schedule.untilS !== null && schedule.untilS <= at) return String(EXPIRED);
  const next = nextInterval(schedule, at);
  if (next === null || next.fromS > at) return String(CLOSED);
  return numberToken(Number.isFinite(next.untilS) ? Math.floor(next.untilS) : ALWAYS_S, 0, ALWAYS_S);
}

/** Returns every schedule of names that go through the proxy. */
export function proxySchedules(policy: Policy): readonly Schedule[] {
  return timedNames(policy).flatMap(({ schedule }) => schedule ?? []);
}

const PLANES: readonly (readonly [plane: string, port: PortRange])[] = [
  ["tls", TLS_PORT],
  ["http", HTTP_PORT],
];

function timedNames(policy: Policy): readonly TimedName[] {
  if (policy.mode === "deny-all") return [];
  const groups = policy.groups.filter((group) => group.isProxied && hasHours(group, policy));
  if (groups.length === 0) return [];
  const decider = buildDecider(withoutDenials(policy));
  return groups.flatMap((group) => PLANES.flatMap(([plane, port]) => namesOf(policy, decider, group, plane, port)));
}

function namesOf(policy: Policy, decider: Decider, group: Group, plane: string, port: PortRange): readonly TimedName[] {
  const found: TimedName[] = [];
  for (const entry of hoursPatterns(policy, group)) {
    const decision = decider.decideName({ host: null, group }, sampleOf(entry.pattern));
    if (decision.verdict === "deny") continue;
    const { basis } = decision;
    const rules = basis.rules.filter(({ ports }) => includesPort(ports, port.protocol, port.first));
    if (rules.length === 0) continue;
    const schedule = scheduleOfAny({ ...basis, rules });
    found.push({ key: `${nameKey(entry)}@${groupToken(group.name)}|${plane}`, schedule });
  }
  // What is always open needs a line only below a wildcard that is not.
  return found.some(({ schedule }) => schedule !== null) ? found : [];
}

/** Returns the policy without what has expired at an instant: for the parts of the proxy's maps that have no times. */
export function withoutExpired(policy: Policy, at: Instant): Policy {
  if (typeof at !== "number") return policy;
  const lasts = ({ expiresS }: { readonly expiresS?: number }): boolean => expiresS === undefined || at < expiresS;
  const denials = (deny: Denials | undefined): { readonly deny?: Denials } =>
    deny === undefined ? {} : { deny: { names: deny.names.filter(lasts), networks: deny.networks.filter(lasts) } };
  return {
    ...policy,
    ...denials(policy.deny),
    groups: policy.groups.map((group) => ({
      ...group,
      ...denials(group.deny),
      names: group.names.filter(lasts),
      networks: group.networks.filter(lasts),
    })),
  };
}

/** Returns whether time changes anything that the proxy goes by. */
export function isProxyTimed(policy: Policy): boolean {
  const expires = (entries: readonly { readonly expiresS?: number }[] = []): boolean =>
    entries.some(({ expiresS }) => expiresS !== undefined);
  const proxied = policy.groups.filter(({ isProxied }) => isProxied);
  const denials = [policy.deny, ...proxied.map(({ deny }) => deny)];
  const lapses = denials.some((deny) => expires(deny?.names) || expires(deny?.networks));
  return lapses || proxied.some((group) => hasHours(group, policy));
}
