import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";
import { buildDenialTable } from "../policy/denial-table.ts";
import type { DomainName, NamePattern, Place, Policy } from "../policy/policy.ts";
import { auditedGroups } from "./audited-groups.ts";
import { comparePlaces } from "./compare-places.ts";
import { createCutter } from "./cut-shards.ts";
import type { CompileMemory } from "./memory.ts";
import { ALLOW_ZONE, AUDIT_SOURCE, BLOCK_CANARY_NAME, BLOCK_ZONE, CANARY_NAME, DENY_ZONE } from "./release.ts";
import { MAX_WHOLE_NAMES, SHARDS, shardCanaryName, shardZone } from "./shards.ts";
import { nameToken, placeToken, refuseRule } from "./tokens.ts";

/** The response policy zones as master files (RFC 1035 §5), and what proves which of them named serves. */
export interface RpzZones {
  readonly block: string;
  readonly allow: string;
  readonly deny: string;
  /** Text of the TXT record at CANARY_NAME: the digest of the allow zone's records. */
  readonly canary: string;
  /** Text of the TXT record at BLOCK_CANARY_NAME: the digest of the block zone's records. */
  readonly blockCanary: string;
  readonly blockSerial: number;
  readonly allowSerial: number;
  readonly denySerial: number;
  /** The allowed names of a long list; empty when the allow zone holds them all. */
  readonly shards: readonly ZoneShard[];
}

/** One of the zones that share a long list of allowed names, and the text of its TXT record at `shardCanaryName`. */
export interface ZoneShard {
  readonly bytes: Buffer;
  /** SHA-256 of the bytes in hex. */
  readonly digest: string;
  readonly canary: string;
}

/** Longest text of a name, without the trailing dot, that fits the 255 bytes of RFC 1035 §2.3.4. */
const MAX_NAME_LENGTH = 253;
/** Everything under it belongs to the canaries. */
const RESERVED_NAME = "clawgress.invalid";

/**
 * Returns the zones of a policy. Allowed is what any group may resolve; the gate decides for each client before.
 *
 * Two zones and never one: with `* CNAME .` beside the allowed names, every parent of an allowed name would be a
 * closest encloser that the wildcard does not reach (RFC 4592 §3.3.1) and would be resolved. For the same reason the
 * allow zone holds nothing below a wildcard: names that a wildcard covers already are left out.
 *
 * What is denied for everyone has a zone of its own before it, and is never written into the allow zone: there,
 * `evil.x CNAME .` under `*.x` would deny everything below evil.x too. What one host alone is denied, others may
 * resolve: named knows no clients, so that is the gate's. Nor does it know the time: what is open at times only is in
 * the allow zone, what is denied until some day is in no zone, and both are the gate's too.
 * @throws AgentError POLICY_INVALID for a name that cannot stand in the zone, with its place.
 */
export function renderZones(policy: Policy, memory?: CompileMemory): RpzZones {
  const blocked = ownersOf((policy.deny?.names ?? []).filter(({ expiresS }) => expiresS === undefined));
  const names = policy.mode === "deny-all" ? [] : allowedNames(policy);
  const isLong = names.length > MAX_WHOLE_NAMES;
  const reverse = policy.mode === "deny-all" ? [] : reverseNames(policy);
  const allowed = ownersOf(isLong ? reverse : [...names, ...reverse]);
  // Comments move with every edit of the source; only records make a new zone.
  const canary = digest(textOf(allowed));
  const exempt = auditedGroups(policy).length > 0 ? auditRecord : "";
  const blockCanary = digest(exempt + textOf(blocked));
  const denyRecords = "* CNAME .\n";
  const blockSerial = serialOf(blockCanary);
  const allowSerial = serialOf(canary);
  const denySerial = serialOf(digest(denyRecords));
  const blockTxt = `${nameToken(BLOCK_CANARY_NAME)} TXT "${blockCanary}"\n`;
  const allowTxt = `${nameToken(CANARY_NAME)} TXT "${canary}"\n`;
  return {
    block: `${zoneHead(BLOCK_ZONE, blockSerial)}${blockTxt}${exempt}${recordsOf(blocked, ".")}`,
    allow: `${zoneHead(ALLOW_ZONE, allowSerial)}${allowTxt}${recordsOf(allowed, "rpz-passthru.")}`,
    deny: `${zoneHead(DENY_ZONE, denySerial)}${denyRecords}`,
    canary,
    blockCanary,
    blockSerial,
    allowSerial,
    denySerial,
    shards: isLong ? renderShards(policy, names, memory) : [],
  };
}

function renderShards(
  { groups }: Policy,
  names: readonly NameEntry[],
  memory: CompileMemory | undefined,
): readonly ZoneShard[] {
  // The list of a group, which is cut for the gate as well, or those of all groups together.
  const list = groups.find((group) => group.names === names)?.name ?? "";
  const { cut } = memory?.cutter ?? createCutter();
  const { contents, shareOf } = cut(list, names);
  const wildcards = new Set(SHARDS.flatMap((shard) => wildcardsOf(contents[shard] ?? {}, () => shareOf(shard))));
  // What is below a wildcard is left out wherever it would be, so all shards depend on all wildcards.
  const covers = [...wildcards].sort(compareTexts).join(" ");
  return SHARDS.map((shard) => {
    const render = (): ZoneShard => renderShard(shard, ownersOf(shareOf(shard), wildcards));
    return memory === undefined ? render() : memory.zones.recall(shard, [covers, contents[shard]], render);
  });
}

const knownWildcards = new WeakMap<object, readonly string[]>();

/** Returns the wildcards of a share, which is looked through once for a token of what it contains. */
function wildcardsOf(content: object, share: () => readonly NameEntry[]): readonly string[] {
  const known = knownWildcards.get(content);
  if (known !== undefined) return known;
  const wildcards: string[] = [];
  for (const { pattern } of share()) if (pattern.kind === "subdomains") wildcards.push(pattern.name);
  knownWildcards.set(content, wildcards);
  return wildcards;
}

function renderShard(shard: number, owners: readonly Owner[]): ZoneShard {
  const canary = digest(textOf(owners));
  const head = `${zoneHead(shardZone(shard), serialOf(canary))}${nameToken(shardCanaryName(shard))} TXT "${canary}"\n`;
  const records = owners.map(({ owner }) => `${owner} CNAME rpz-passthru.\n`).join("");
  const text = head + records;
  return { canary, bytes: Buffer.from(text), digest: digest(text) };
}

/** A rule for who asks, before all rules for names: its address backwards behind the length of the prefix. */
const auditRecord = `32.${AUDIT_SOURCE.split(".").reverse().join(".")}.rpz-client-ip CNAME rpz-passthru.\n`;

function textOf(owners: readonly Owner[]): string {
  return owners.map(({ owner }) => owner).join("\n");
}

function recordsOf(owners: readonly Owner[], target: string): string {
  return owners.map(({ owner, place }) => `${owner} CNAME ${target} ; ${placeToken(place)}\n`).join("");
}

/** The gate asks for the names of addresses that a client may reach already, and for no other reverse name. */
function reverseNames({ groups }: Policy): readonly NameEntry[] {
  const place = groups.find(({ name }) => name === "*")?.place;
  if (place === undefined) return [];
  return ["in-addr.arpa", "ip6.arpa"].map((name) => ({
    pattern: { kind: "subdomains", name: name as DomainName },
    place,
  }));
}

/** Returns what any group may resolve; an entry that is denied whole for its group is none. */
function allowedNames(policy: Policy): readonly NameEntry[] {
  const everyone = buildDenialTable(policy.deny);
  const lists: (readonly NameEntry[])[] = [];
  for (const group of policy.groups) {
    const isWhole = policy.deny === undefined && group.deny === undefined;
    const denied = isWhole ? [] : [everyone, buildDenialTable(group.deny)];
    const names = isWhole
      ? group.names
      : group.names.filter(({ pattern }) => !denied.some(({ coversPattern }) => coversPattern(pattern)));
    if (names.length > 0) lists.push(names);
  }
  const [only] = lists;
  return lists.length === 1 && only !== undefined ? only : lists.flat();
}

interface Owner {
  readonly owner: string;
  readonly place: Place;
}

interface NameEntry {
  readonly pattern: NamePattern;
  readonly place: Place;
}

/** `wildcards`: those of other zones too, when the entries are only a part. */
function ownersOf(entries: Iterable<NameEntry>, wildcards?: ReadonlySet<string>): readonly Owner[] {
  const exact = new Map<string, Place>();
  const subdomains = new Map<string, Place>();
  const covers = wildcards ?? subdomains;
  for (const { pattern, place } of entries) {
    checkPattern(pattern, place);
    const places = pattern.kind === "exact" ? exact : subdomains;
    const known = places.get(pattern.name);
    if (known === undefined || comparePlaces(place, known) < 0) places.set(pattern.name, place);
  }
  const owners: Owner[] = [];
  for (const [name, place] of exact) {
    if (!isBelowAny(name, covers)) owners.push({ owner: nameToken(name), place });
  }
  for (const [name, place] of subdomains) {
    if (!isBelowAny(name, covers)) owners.push({ owner: `*.${nameToken(name)}`, place });
  }
  return owners.sort((a, b) => compareTexts(a.owner, b.owner));
}

function isBelowAny(name: string, subdomains: { readonly size: number; has(name: string): boolean }): boolean {
  if (subdomains.size === 0) return false;
  for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
    if (subdomains.has(name.slice(dot + 1))) return true;
  }
  return false;
}

function checkPattern(pattern: NamePattern, place: Place): void {
  const { name, kind } = pattern;
  const owner = kind === "exact" ? name : `*.${name}`;
  const longest = MAX_NAME_LENGTH - ALLOW_ZONE.length - 1;
  if (owner.length > longest) {
    throw refuseRule(
      place,
      `the name has ${owner.length} characters; a response policy zone holds at most ${longest}`,
      "allow a parent of it by a wildcard",
    );
  }
  const lastLabel = name.slice(name.lastIndexOf(".") + 1);
  if (lastLabel.startsWith("rpz-")) {
    // `32.1.2.0.192.rpz-client-ip` would not be a name but a rule for a client.
    throw refuseRule(place, `names under ${nameToken(lastLabel)} are instructions to the resolver`, "remove the entry");
  }
  const isReserved = name === RESERVED_NAME || name.endsWith(`.${RESERVED_NAME}`);
  const coversReserved = kind === "subdomains" && RESERVED_NAME.endsWith(`.${name}`);
  if (isReserved || coversReserved) {
    throw refuseRule(place, `${RESERVED_NAME} is kept for the names that prove denying works`, "remove the entry");
  }
}

/** Answers out of the zones are the gate's alone, which sets the times that clients see. */
const TTL_S = 5;

function zoneHead(zone: string, serial: number): string {
  const soa = `@ SOA localhost. hostmaster.localhost. ${serial} 3600 600 86400 ${TTL_S}`;
  return `$ORIGIN ${nameToken(zone)}.\n$TTL ${TTL_S}\n${soa}\n@ NS localhost.\n`;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A serial of zero would mean 'unset' to some tools. named loads a primary zone whatever the order of its serials. */
function serialOf(hexDigest: string): number {
  return Number.parseInt(hexDigest.slice(0, 8), 16) || 1;
}
