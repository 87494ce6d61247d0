import {
  type Address,
  cidrRange,
  compareCidrs,
  formatAddress,
  holdsAddress,
  parseAddress,
  unmapAddress,
} from "./cidr.ts";
import { buildDenialTable, type DenialTable } from "./denial-table.ts";
import { findForwardZone } from "./forward-zones.ts";
import { type Hours, holdsAt, type Schedule } from "./hours.ts";
import { buildNameTable, findNameRules, type NameTable } from "./name-table.ts";
import {
  explainAddress,
  explainDenial,
  explainExpired,
  explainHours,
  explainName,
  explainPorts,
  explainProxied,
  indexGroups,
  type NearMiss,
} from "./near-miss.ts";
import { quoteText } from "./parsed.ts";
import type {
  Cidr,
  ForwardZone,
  Group,
  HostEntry,
  NameDenial,
  NameRule,
  NetworkDenial,
  NetworkRule,
  Policy,
  PolicyEntry,
  PortRange,
  Protocol,
} from "./policy.ts";
import { includesPort, sortPorts } from "./ports.ts";
import { buildPrefixTable, type PrefixTable } from "./prefix-table.ts";
import type { Reason } from "./reasons.ts";
import { type Basis, type Instant, NO_BASIS, scheduleOfAny } from "./schedules.ts";
import { closedInAudit } from "./special.ts";
import { buildWindowTable, type FindHours } from "./window-table.ts";

/** Who a client address is: its host entry (null for a client in no host) and the group whose rules it follows. */
export interface Client {
  readonly host: HostEntry | null;
  readonly group: Group;
}

/** The rules that allow something: the most specific first, and the union of their ports. */
export interface Allowed {
  readonly verdict: "allow";
  readonly client: Client;
  /** Null when no rule allows it, but the client's group is under audit. */
  readonly rule: NameRule | NetworkRule | null;
  /** What the decision were if it were enforced, when that is another one: the client's group is under audit. */
  readonly wouldDeny: Denied | null;
  readonly label: string | null;
  /** Union of the ports of every matching rule, sorted, as written (not merged). */
  readonly ports: readonly PortRange[];
  /** Private networks that the name may resolve to, by every matching rule and its zone of `dns.forward`; empty for an address. */
  readonly answers: readonly Cidr[];
  /** All that matches, and the hours that hold for it. */
  readonly basis: Basis;
}

export interface Denied {
  readonly verdict: "deny";
  readonly client: Client;
  readonly reason: Reason;
  /** The nearest rule that almost matched, or what denies it, for people: `x.com is listed, but not its subdomains`. */
  readonly nearMiss: string | null;
  /** That rule or entry of `deny`. */
  readonly nearRule: PolicyEntry | null;
  /** When it would be allowed, if the time alone denies it; else null. */
  readonly schedule: Schedule | null;
}

export type Decision = Allowed | Denied;

/** Answers 'may A reach B?' for gate, explain and tests. Built once for a policy; every call is O(labels) or O(log n). */
export interface Decider {
  /** Returns the client of an address in canonical text; the most specific source wins. Throws RangeError for a text that is no address. */
  clientOf(address: string): Client;
  /** Returns the client that a host entry is, or for `*` a client in no host entry; null when there is no such host. */
  clientNamed(name: string): Client | null;
  /** Returns whether a client may resolve a name (lower case, no trailing dot). */
  decideName(client: Client, name: string): Decision;
  /** Returns whether a client may open a flow to a name. */
  decideNameFlow(client: Client, name: string, protocol: Protocol, port: number): Decision;
  /** Returns whether a client may reach an address by the networks of its group (pins are the gate's affair). */
  decideAddress(client: Client, address: string, protocol: Protocol, port: number): Decision;
  /** Returns whether the networks of a client's group cover an address on any port at all. */
  coversAddress(client: Client, address: string): boolean;
  /** Returns the entry of `deny`, the client's or everyone's, that denies a name (lower case, no trailing dot); null when none does. */
  deniesName(client: Client, name: string): NameDenial | null;
  /** Returns the entry of `deny`, the client's or everyone's, that denies an address; null when none does. */
  deniesAddress(client: Client, address: string): NetworkDenial | null;
  /** Returns whether an allowed name may resolve to a private address, by its own answers or the client's networks. */
  mayAnswer(allowed: Allowed, address: string): boolean;
}

/**
/**
 * Returns the decider of a policy. Building reads every rule once and is linear but for a sort of networks. The clock
 * says what time it is; without one hours and expiry are left out of account: windows are open, and what will expire
 * counts. The names of a group that has a table are looked up there, whatever the policy lists for it.
 * @throws RangeError when a host follows a group that the policy does not have.
 */
export function buildDecider(
  policy: Policy,
  clock: () => Instant = () => null,
  tables: ReadonlyMap<string, NameTable> = new Map(),
): Decider {
  const isDenyAll = policy.mode === "deny-all";
  const groups = new Map(policy.groups.map((group) => [group.name, indexGroup(group, policy, tables.get(group.name))]));
  const groupOf = (name: string): IndexedGroup => {
    const group = groups.get(name);
    if (group === undefined) throw new RangeError(`the policy has no group ${quoteText(name)}`);
    return group;
  };
  const others = indexGroups(policy, tables);
  const anyone: Client = { host: null, group: groupOf("*").group };
  const named = new Map(
    policy.hosts.map((host): [string, Client] => [host.name, { host, group: groupOf(host.group).group }]),
  );
  const clients = buildPrefixTable(
    [...named.values()].flatMap((client) =>
      (client.host?.sources ?? []).map((source) => ({ range: cidrRange(source), value: client })),
    ),
  );
  const zones = new Map((policy.forward ?? []).map((zone): [string, ForwardZone] => [zone.zone, zone]));
  const everyone = buildDenialTable(policy.deny);
  const nameDenial = (client: Client, name: string): NameDenial | null =>
    everyone.findName(name, clock()) ?? groupOf(client.group.name).denials.findName(name, clock());
  const addressDenial = (client: Client, address: Address): NetworkDenial | null =>
    everyone.findAddress(address, clock()) ?? groupOf(client.group.name).denials.findAddress(address, clock());
  const judgeName = (client: Client, name: string): Decision => {
    if (isDenyAll || client.group.mode === "deny-all") return deny(client, "deny-all", null);
    const denial = nameDenial(client, name);
    if (denial !== null) return deny(client, "denied-explicit", explainDenial(denial));
    const { names, hoursOf, windows } = groupOf(client.group.name);
    const hours = hoursOf(name);
    const within = hours === null ? windows : [...windows, hours];
    const judged = judgeRules(client, findNameRules(names, name).flat(), within, clock());
    if (judged === null) return deny(client, "dns-not-allowed", explainName(client.group, names, others, name));
    return judged.verdict === "allow" ? withZone(judged, findForwardZone(zones, name)) : judged;
  };
  const judgeAddress = (client: Client, address: Address, nearer: string | null): Decision => {
    if (isDenyAll || client.group.mode === "deny-all") return deny(client, "deny-all", null);
    const denial = addressDenial(client, address);
    if (denial !== null) return deny(client, "denied-explicit", explainDenial(denial));
    const { networks, windows } = groupOf(client.group.name);
    const judged = judgeRules(client, networks.find(address), windows, clock());
    if (judged !== null) return judged;
    const near = nearer === null ? explainAddress(client.group, others, address) : { text: nearer, rule: null };
    return deny(client, "ip-not-allowed", near);
  };
  const coversAddress = (client: Client, address: string): boolean =>
    judgeAddress(client, unmapAddress(readAddress(address)), null).verdict === "allow";

  return {
    clientOf: (text) => clients.findFirst(unmapAddress(readAddress(text))) ?? anyone,
    clientNamed: (name) => (name === "*" ? anyone : (named.get(name) ?? null)),
    decideName: (client, name) => auditName(judgeName(client, name), name),
    decideNameFlow: (client, name, protocol, port) => {
      const nearer = protocol === "udp" ? explainProxied(client.group, port) : null;
      return auditName(checkPort(judgeName(client, name), name, protocol, port, nearer), name);
    },
    decideAddress: (client, text, protocol, port) => {
      const address = unmapAddress(readAddress(text));
      const nearer = explainProxied(client.group, port);
      const judged = checkPort(judgeAddress(client, address, nearer), formatAddress(address), protocol, port, nearer);
      return auditAddress(judged, address);
    },
    coversAddress,
    deniesName: nameDenial,
    deniesAddress: (client, text) => addressDenial(client, unmapAddress(readAddress(text))),
    mayAnswer: ({ client, answers }, text) =>
      answers.some((network) => holdsAddress(network, text)) || coversAddress(client, text),
  };
}

/** What an audit lets pass is let pass on every port. */
const EVERY_PORT: readonly PortRange[] = (["tcp", "udp"] as const).map((protocol) => ({
  protocol,
  first: 1,
  last: 65_535,
}));

/** Names that nobody has (RFC 6761) prove that denying works, so that no audit opens them. */
function auditName(decision: Decision, name: string): Decision {
  return name === "invalid" || name.endsWith(".invalid") ? decision : audit(decision);
}

function auditAddress(decision: Decision, { family, value }: Address): Decision {
  const isClosed = closedInAudit.some(
    (range) => range.family === family && range.first <= value && value <= range.last,
  );
  return isClosed ? decision : audit(decision);
}

/** Returns what a client under audit is let do instead of a denial. */
function audit(decision: Decision): Decision {
  const { client, verdict } = decision;
  if (verdict === "allow" || client.group.mode !== "audit") return decision;
  return {
    verdict: "allow",
    client,
    rule: null,
    wouldDeny: decision,
    label: null,
    ports: EVERY_PORT,
    answers: NO_ANSWERS,
    basis: NO_BASIS,
  };
}

interface IndexedGroup {
  readonly group: Group;
  readonly names: NameTable;
  readonly networks: PrefixTable<NetworkRule>;
  readonly denials: DenialTable;
  /** The hours of all that the group may reach: one or none. */
  readonly windows: readonly Hours[];
  readonly hoursOf: FindHours;
}

function indexGroup(group: Group, { nameWindows }: Policy, table: NameTable | undefined): IndexedGroup {
  const networks = group.networks.map((rule) => ({ range: cidrRange(rule.network), value: rule }));
  const denials = buildDenialTable(group.deny);
  return {
    group,
    names: table ?? buildNameTable(group.names),
    networks: buildPrefixTable(networks),
    denials,
    windows: group.window === undefined ? [] : [group.window],
    hoursOf: buildWindowTable(group.nameWindows, nameWindows),
  };
}

/** Returns the decision by the rules that match, or null when none does. */
function judgeRules(
  client: Client,
  matching: readonly (NameRule | NetworkRule)[],
  windows: readonly Hours[],
  at: Instant,
): Decision | null {
  const [first] = matching;
  if (first === undefined) return null;
  const rules = matching.filter((candidate) => opensAt(candidate, at));
  const [rule] = rules;
  if (rule === undefined)
    return at === "unknown" ? denyUnknown(client, first) : deny(client, "expired", explainExpired(first));
  if (at === "unknown" && windows.length > 0) return denyUnknown(client, rule);
  if (typeof at === "number" && !holdsAt({ windows, fromS: null, untilS: null }, at)) {
    const schedule = scheduleOfAny({ rules, expired: [], windows });
    return { ...deny(client, "outside-window", explainHours(rule, windows, at)), schedule };
  }
  const expired = rules.length === matching.length ? [] : matching.filter((candidate) => !rules.includes(candidate));
  return allow(client, rule, { rules, expired, windows });
}

/** Of what expires nothing is open while nobody knows the time. */
function opensAt({ expiresS }: NameRule | NetworkRule, at: Instant): boolean {
  return expiresS === undefined || at === null || (at !== "unknown" && at < expiresS);
}

function denyUnknown(client: Client, rule: NameRule | NetworkRule): Denied {
  const text =
    "the gateway's clock shows a time before one that has been, so that nothing that depends on the time opens";
  return deny(client, "outside-window", { text, rule });
}

function allow(client: Client, rule: NameRule | NetworkRule, basis: Basis): Allowed {
  const { rules } = basis;
  const label = rules.find((candidate) => candidate.label !== null)?.label ?? null;
  const ports = rules.length === 1 ? rule.ports : sortPorts(rules.flatMap((candidate) => candidate.ports));
  return { verdict: "allow", client, rule, wouldDeny: null, label, ports, answers: joinAnswers(rules), basis };
}

function withZone(allowed: Allowed, zone: ForwardZone | null): Allowed {
  if (zone?.answers === undefined) return allowed;
  return { ...allowed, answers: [...new Set([...allowed.answers, ...zone.answers])].sort(compareCidrs) };
}

const NO_ANSWERS: readonly Cidr[] = [];

function joinAnswers(rules: readonly (NameRule | NetworkRule)[]): readonly Cidr[] {
  const lists = rules.flatMap((rule) => ("answers" in rule && rule.answers !== undefined ? [rule.answers] : []));
  return lists.length < 2 ? (lists[0] ?? NO_ANSWERS) : [...new Set(lists.flat())].sort(compareCidrs);
}

function deny(client: Client, reason: Reason, near: NearMiss | null): Denied {
  return {
    verdict: "deny",
    client,
    reason,
    nearMiss: near?.text ?? null,
    nearRule: near?.rule ?? null,
    schedule: null,
  };
}

function checkPort(
  decision: Decision,
  what: string,
  protocol: Protocol,
  port: number,
  nearer: string | null,
): Decision {
  if (decision.verdict === "deny" || includesPort(decision.ports, protocol, port)) return decision;
  const { client, rule, ports, basis } = decision;
  const expired = basis.expired.find((candidate) => includesPort(candidate.ports, protocol, port));
  if (expired !== undefined) return deny(client, "expired", explainExpired(expired));
  return deny(client, "port-not-allowed", { text: nearer ?? explainPorts(what, ports), rule });
}

function readAddress(text: string): Address {
  const address = parseAddress(text);
  if (address === null) throw new RangeError(`${quoteText(text)} is no address`);
  return address;
}
