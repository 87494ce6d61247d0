import { type AddressRange, cidrRange, type Family, formatAddress } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Policy } from "../policy/policy.ts";
import { needsProxy } from "../policy/proxied.ts";
import { mergeRanges } from "../policy/ranges.ts";
import type { HostBinding, ProbeAddress } from "../settings/settings.ts";
import { auditedGroups } from "./audited-groups.ts";
import { boundHostRules, boundHostsObject } from "./bound-hosts.ts";
import type { LapsingParts } from "./chain-parts.ts";
import { type ClientRange, clientGroups } from "./client-groups.ts";
import {
  denialLengths,
  deniedRanges,
  type GroupDenial,
  groupDenials,
  type LapsingDenial,
  lapsingDenials,
} from "./denied-networks.ts";
import { groupMarks } from "./grants.ts";
import { INTERCEPT } from "./marks.ts";
import { meteringObjects, meterPolicy, renderRelay } from "./metering.ts";
import { type NetworkEntry, networkEntries, prefixLengths } from "./network-rules.ts";
import { renderChains } from "./nft-chains.ts";
import { policyObjects, refilledMaps, refilledSets, type StaticSet, staticMaps } from "./nft-objects.ts";
import { hasHours, policySchedules, type TimedPair, timedNetworks } from "./policy-hours.ts";
import { answeredNetworks } from "./proxy-answers.ts";
import type { PortClass } from "./release.ts";
import { renderBudget, renderSpender, shapePolicy, shapingObjects } from "./shaping.ts";
import { addressToken, markToken, placeToken, portToken } from "./tokens.ts";

/**
 * Returns `policy.nft`: the table `inet clawgress` as one transaction that can be loaded at any time and over any
 * earlier one. It empties and fills what only an apply writes; pins and `live` are not touched, so that the gate's
 * concurrent inserts and running flows survive.
 */
export function renderPolicyTable(
  policy: Policy,
  classes: readonly PortClass[],
  probes: readonly ProbeAddress[],
  bindings: { readonly [host: string]: HostBinding } = {},
): Buffer {
  const groups = groupMarks(policy);
  const markOf = (group: string): number => {
    const mark = groups.get(group);
    if (mark === undefined) throw new RangeError(`the policy has no group ${JSON.stringify(group)}`);
    return mark;
  };
  const clients = clientGroups(policy, probes);
  const denials = groupDenials(policy);
  const everyone = { 4: deniedRanges(policy, 4), 6: deniedRanges(policy, 6) };
  const audited = auditedGroups(policy);
  const answers = { 4: answerRanges(policy, 4), 6: answerRanges(policy, 6) };
  const schedules = policySchedules(policy);
  const lapses = lapsingDenials(policy, schedules);
  const isDenying = denials.length + everyone[4].length + everyone[6].length > 0;
  const chains = renderChains({
    denyAll: policy.mode === "deny-all",
    isProxied: needsProxy(policy),
    globalGroup: markOf("*"),
    prefixLengths4: prefixLengths(policy, 4),
    prefixLengths6: prefixLengths(policy, 6),
    resolverFamilies: ([4, 6] as const).filter((family) => resolversOf(policy, family).length > 0),
    answerFamilies: ([4, 6] as const).filter((family) => answers[family].length > 0),
    hasAudit: audited.length > 0,
    hasHours: policy.mode !== "deny-all" && policy.groups.some((group) => hasHours(group, policy)),
    lapsing: lapsingParts(lapses),
    denied: isDenying
      ? {
          everyone4: everyone[4].length > 0,
          everyone6: everyone[6].length > 0,
          groupLengths4: denialLengths(denials, 4),
          groupLengths6: denialLengths(denials, 6),
        }
      : null,
  });
  const shaping = shapePolicy(policy);
  const metering = meterPolicy(policy, { globalGroup: markOf("*"), hasAudit: audited.length > 0 });
  const clientLine = (range: ClientRange): string => renderClient(range, markOf(range.group));
  return Buffer.concat([
    Buffer.from(policyObjects + boundHostsObject + shapingObjects + meteringObjects),
    Buffer.from([...staticMaps, ...refilledMaps].map((map) => `flush map inet clawgress ${map}\n`).join("")),
    Buffer.from(refilledSets.map((set) => `flush set inet clawgress ${set}\n`).join("")),
    Buffer.from(chains + boundHostRules(policy, bindings) + shaping.chains + metering.chains),
    ...elements(
      "client4",
      clients.single.filter(({ family }) => family === 4),
      clientLine,
    ),
    ...elements(
      "client6",
      clients.single.filter(({ family }) => family === 6),
      clientLine,
    ),
    ...elements(
      "group4",
      clients.wide.filter(({ family }) => family === 4),
      clientLine,
    ),
    ...elements(
      "group6",
      clients.wide.filter(({ family }) => family === 6),
      clientLine,
    ),
    ...elements(
      "tcp_ports",
      classes.filter(({ protocol }) => protocol === "tcp"),
      renderClass,
    ),
    ...elements(
      "udp_ports",
      classes.filter(({ protocol }) => protocol === "udp"),
      renderClass,
    ),
    ...elements(
      "proxied",
      policy.groups.filter((group) => group.isProxied),
      ({ name, place }) => `${markToken(markOf(name))} : ${markToken(INTERCEPT)}, # ${placeToken(place)}\n`,
    ),
    ...networks(policy, classes),
    ...elements("net_hours", timedNetworks(policy, schedules), renderTimed),
    ...lapseElements(lapses),
    ...elements(
      "limit4",
      shaping.spenders.filter(({ family }) => family === 4),
      renderSpender,
    ),
    ...elements(
      "limit6",
      shaping.spenders.filter(({ family }) => family === 6),
      renderSpender,
    ),
    ...elements("exfil_relays", metering.relays, renderRelay),
    ...elements("budgets", shaping.budgets, renderBudget),
    ...([4, 6] as const).flatMap((family) => [
      ...elements(`resolvers${family}`, resolversOf(policy, family), (address) => `${addressToken(address)},\n`),
      ...elements(`answers${family}`, answers[family], renderRange),
    ]),
    ...elements("audited", audited, (mark) => `${markToken(mark)},\n`),
    ...([4, 6] as const).flatMap((family) => [
      ...elements(`deny${family}`, everyone[family], renderRange),
      ...elements(
        `group_deny${family}`,
        denials.filter((denial) => denial.family === family),
        renderGroupDenial,
      ),
    ]),
  ]);
}

/** Lines are joined by the thousand: one string for a large policy would be held several times over while it grows. */
const LINES_PER_CHUNK = 4096;

function* elements<T>(map: StaticSet, items: Iterable<T>, render: (item: T) => string): Generator<Buffer> {
  let lines: string[] = [];
  let isOpen = false;
  for (const item of items) {
    if (!isOpen) yield Buffer.from(`add element inet clawgress ${map} {\n`);
    isOpen = true;
    lines.push(render(item));
    if (lines.length === LINES_PER_CHUNK) {
      yield Buffer.from(lines.join(""));
      lines = [];
    }
  }
  if (isOpen) yield Buffer.from(`${lines.join("")}}\n`);
}

function* networks(policy: Policy, classes: readonly PortClass[]): Generator<Buffer> {
  const entries = [...networkEntries(policy, classes)];
  for (const family of [4, 6] as const) {
    yield* elements(
      `net${family}`,
      entries.filter((entry) => entry.family === family),
      renderNetwork,
    );
  }
}

function renderClient(range: ClientRange, group: number): string {
  const first = addressToken(formatAddress({ family: range.family, value: range.first }));
  const last = addressToken(formatAddress({ family: range.family, value: range.last }));
  const trace = range.place === null ? "probe" : placeToken(range.place);
  return `${first === last ? first : `${first}-${last}`} : ${markToken(group)}, # ${trace}\n`;
}

function answerRanges(policy: Policy, family: Family): readonly AddressRange[] {
  if (!needsProxy(policy)) return [];
  const ranges = answeredNetworks(policy).map(cidrRange);
  return mergeRanges(ranges.filter((range) => range.family === family));
}

function resolversOf(policy: Policy, family: 4 | 6): readonly string[] {
  const all = new Set((policy.forward ?? []).flatMap(({ resolvers }) => resolvers));
  return [...all].filter((address) => address.includes(":") === (family === 6)).sort(compareTexts);
}

function renderRange({ family, first, last }: AddressRange): string {
  const from = addressToken(formatAddress({ family, value: first }));
  return first === last ? `${from},\n` : `${from}-${addressToken(formatAddress({ family, value: last }))},\n`;
}

function renderGroupDenial({ group, address, prefixLength, place }: GroupDenial): string {
  const length = markToken(prefixLength * 0x1_0000);
  return `${markToken(group)} . ${addressToken(address)} . ${length}, # ${placeToken(place)}\n`;
}

function lapsingParts(lapses: readonly LapsingDenial[]): LapsingParts | null {
  if (lapses.length === 0) return null;
  const everyone = lapses.filter(({ group }) => group === null);
  const groups = lapses.filter(({ group }) => group !== null);
  return {
    everyoneLengths4: denialLengths(everyone, 4),
    everyoneLengths6: denialLengths(everyone, 6),
    groupLengths4: denialLengths(groups, 4),
    groupLengths6: denialLengths(groups, 6),
  };
}

function* lapseElements(lapses: readonly LapsingDenial[]): Generator<Buffer> {
  for (const family of [4, 6] as const) {
    const own = lapses.filter((lapse) => lapse.family === family);
    yield* elements(
      `lapse${family}`,
      own.filter(({ group }) => group === null),
      renderLapse,
    );
    yield* elements(
      `group_lapse${family}`,
      own.filter(({ group }) => group !== null),
      renderLapse,
    );
  }
}

function renderLapse({ group, address, prefixLength, schedule, place }: LapsingDenial): string {
  const owner = group === null ? "" : `${markToken(group)} . `;
  const length = markToken(prefixLength * 0x1_0000);
  return `${owner}${addressToken(address)} . ${length} : ${markToken(schedule)}, # ${placeToken(place)}\n`;
}

function renderTimed({ group, grant, schedule, place }: TimedPair): string {
  return `${markToken(group)} . ${markToken(grant)} : ${markToken(schedule)}, # ${placeToken(place)}\n`;
}

function renderClass({ first, last, mark }: PortClass): string {
  const ports = first === last ? portToken(first) : `${portToken(first)}-${portToken(last)}`;
  return `${ports} : ${markToken(mark)},\n`;
}

function renderNetwork(entry: NetworkEntry): string {
  const start = `${markToken(entry.group)} . ${addressToken(entry.address)} . `;
  const trace = placeToken(entry.place);
  // The length of the prefix shares a field with the class: 10.0.0.0/8 and 10.0.0.0/16 begin alike.
  return entry.grants
    .map(({ portClass, grant }) => {
      const classAndLength = markToken(portClass + entry.prefixLength * 0x1_0000);
      return `${start}${classAndLength} : ${markToken(grant)}, # ${trace}\n`;
    })
    .join("");
}
