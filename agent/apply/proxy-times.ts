import { isProxyTimed, proxySchedules } from "../compile/proxy-hours.ts";
import { type ProxyMap, proxyMaps, timedMaps } from "../compile/proxy-maps.ts";
import { nextInterval } from "../policy/hours.ts";
import type { Policy } from "../policy/policy.ts";
import type { Instant } from "../policy/schedules.ts";
import type { ApplyContext } from "./context.ts";

/** Lines of maps as they are at an instant, in place of a release's. */
export type TimedLines = ReadonlyMap<ProxyMap, ReadonlySet<string>>;

/** Returns the time that the gate judges by: it alone knows whether the clock was put back. @throws AgentError GATE_UNREACHABLE */
export async function gateInstant({ gate }: Pick<ApplyContext, "gate">): Promise<Exclude<Instant, null>> {
  const { clock } = await gate.status();
  return clock.isBehind ? "unknown" : clock.latestS;
}

/** Returns the maps of a policy that depend on the time, as they are at an instant; none for a policy without hours. */
export function timedLines(policy: Policy, at: Instant): TimedLines {
  if (!isProxyTimed(policy)) return new Map();
  const texts = timedMaps(policy, at);
  return new Map([...texts].map(([map, text]) => [map, new Set(text.split("\n").filter((line) => line !== ""))]));
}

/** Returns whether two sets of lines differ in more than until when their names are open. */
export function isOtherMap(map: ProxyMap, one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  if (map !== proxyMaps.hours) return !isSame(one, other);
  return !isSame(keysOf(one), keysOf(other));
}

/** Of what two maps say about a name's time, what closes earlier. */
export function earlier(current: ReadonlySet<string>, next: ReadonlySet<string>): ReadonlySet<string> {
  const values = new Map<string, number>();
  for (const line of [...current, ...next]) {
    const [key = "", value] = line.split(" ");
    values.set(key, Math.min(values.get(key) ?? Number.POSITIVE_INFINITY, Number(value)));
  }
  return new Set([...values].map(([key, value]) => `${key} ${value}`));
}

/** Returns when the next name opens, closes or expires, or the next denial ends; Infinity: never. */
export function nextProxyChange(policy: Policy, at: number): number {
  const changes = proxySchedules(policy).map((schedule) => {
    const next = nextInterval(schedule, at);
    if (next === null) return Number.POSITIVE_INFINITY;
    return next.fromS > at ? next.fromS : next.untilS;
  });
  const denials = [policy, ...policy.groups].flatMap(({ deny }) => [...(deny?.names ?? []), ...(deny?.networks ?? [])]);
  const ends = denials.flatMap(({ expiresS }) => (expiresS === undefined || expiresS <= at ? [] : [expiresS]));
  return [...changes, ...ends].reduce((soonest, change) => Math.min(soonest, change), Number.POSITIVE_INFINITY);
}

export function isSame(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  if (one.size !== other.size) return false;
  for (const line of one) if (!other.has(line)) return false;
  return true;
}

function keysOf(lines: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...lines].map((line) => line.slice(0, line.indexOf(" "))));
}
