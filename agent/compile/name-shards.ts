import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { Group, NameRule, Policy } from "../policy/policy.ts";
import { canonicalJson } from "./canonical-json.ts";
import { createCutter } from "./cut-shards.ts";
import type { CompileMemory } from "./memory.ts";
import type { GateRelease } from "./release.ts";
import { joinPlaces, type PlacesPart, readPlaces, renderAllPlaces, renderPlaces } from "./shard-places.ts";
import { SHARDS, shardedGroups } from "./shards.ts";

/** A rule as a shard holds it: its place is in a file of its own, because it moves with every line that is added above it. */
export type ShardedRule = Omit<NameRule, "place">;

/** `names-00.json`: group name → its rules of this shard, in the order of the policy. */
export type NamesShardFile = { readonly [group: string]: readonly ShardedRule[] };

export interface ShardFile {
  readonly bytes: Buffer;
  readonly digest: string;
}

/** The names of the long lists of a policy, apart from it. */
export interface NameShards {
  /** Groups whose names are in the shards and not in the policy. */
  readonly groups: readonly string[];
  readonly names: readonly ShardFile[];
  readonly places: ShardFile;
}

/** Returns the policy without the names of its long lists, and these in shards; no shards when no list is long. */
export function takeShards(
  policy: Policy,
  memory?: CompileMemory,
): { readonly rest: Policy; readonly shards: NameShards | null } {
  const groups = shardedGroups(policy);
  if (groups.length === 0) return { rest: policy, shards: null };
  const isTaken = new Set(groups);
  const rest = {
    ...policy,
    groups: policy.groups.map((group) => (isTaken.has(group.name) ? { ...group, names: [] } : group)),
  };
  const taken = policy.groups.filter(({ name }) => isTaken.has(name));
  const { cut } = memory?.cutter ?? createCutter();
  const cuts = taken.map(({ name, names }) => cut(name, names));
  const list = JSON.stringify(groups);
  const sharesOf = (shard: number): readonly (readonly NameRule[])[] => cuts.map(({ shareOf }) => shareOf(shard));
  const names = SHARDS.map((shard) => {
    const render = (): ShardFile => renderNames(taken, sharesOf(shard));
    const parts = [list, ...cuts.map(({ contents }) => contents[shard])];
    return memory === undefined ? render() : memory.names.recall(shard, parts, render);
  });
  const lists = cuts.map(({ shards }, index) => ({ rules: taken[index]?.names ?? [], shards }));
  const isMoved = cuts.some((one) => one.isMoved);
  let all: readonly PlacesPart[] | null = null;
  const places = SHARDS.map((shard) => {
    const render = (): PlacesPart => {
      // Only now: the very same lists again are remembered, however they came to be.
      if (isMoved) all ??= renderAllPlaces(lists);
      return all?.[shard] ?? renderPlaces(sharesOf(shard).flat());
    };
    const parts = [list, ...cuts.map(({ versions }) => versions[shard])];
    return memory === undefined ? render() : memory.places.recall(shard, parts, render);
  });
  return { rest, shards: { groups, names, places: shardFile(joinPlaces(places)) } };
}

/** In canonical JSON, as of the whole. */
function renderNames(groups: readonly Group[], lists: readonly (readonly NameRule[])[]): ShardFile {
  const sortKeys = createKeySorter();
  const members = groups.map(({ name }, index) => ({ name, rules: (lists[index] ?? []).map(sortKeys) }));
  members.sort((a, b) => compareTexts(a.name, b.name));
  // The platform writes what is in order already in a fifth of the time.
  const texts = members.map(({ name, rules }) => `${JSON.stringify(name)}:${JSON.stringify(rules)}`);
  return shardFile(Buffer.from(`{${texts.join(",")}}\n`));
}

/** Returns what copies a rule, without its place, with the keys of canonical JSON. */
function createKeySorter(): (rule: NameRule) => unknown {
  const shared = new Map<unknown, unknown>();
  const sorted = (value: unknown): unknown => JSON.parse(canonicalJson(value));
  return ({ pattern, ports, label, place: _place, ...rest }) => {
    if (Object.keys(rest).length > 0) return sorted({ pattern, ports, label, ...rest });
    const sortedPorts = shared.get(ports) ?? sorted(ports);
    shared.set(ports, sortedPorts);
    return { label, pattern: { kind: pattern.kind, name: pattern.name }, ports: sortedPorts };
  };
}

function shardFile(bytes: Buffer): ShardFile {
  return { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
}

/**
 * Returns a release as it was before its long lists were cut into shards: groups whole, each rule with its place.
 * @throws RangeError when the parts are not of one release
 */
export function joinShards(gate: GateRelease, shards: readonly NamesShardFile[], places: Buffer): GateRelease {
  const { sharded = [], ...rest } = gate;
  const lists = new Map<string, NameRule[]>(sharded.map((group) => [group, []]));
  for (const [index, shard] of shards.entries()) {
    // In the order in which they were written: group after group.
    const placed = readPlaces(places, index)[Symbol.iterator]();
    for (const group of sharded) {
      for (const rule of shard[group] ?? []) {
        const { value: place } = placed.next();
        if (place === undefined) throw new RangeError(`no place of ${JSON.stringify(patternText(rule.pattern))}`);
        lists.get(group)?.push({ ...rule, place });
      }
    }
  }
  const rulesOf = (group: string): readonly NameRule[] => {
    const rules = (lists.get(group) ?? []).map((rule) => ({ text: patternText(rule.pattern), rule }));
    return rules.sort((a, b) => compareTexts(a.text, b.text)).map(({ rule }) => rule);
  };
  const groups = gate.policy.groups.map((group) =>
    sharded.includes(group.name) ? { ...group, names: rulesOf(group.name) } : group,
  );
  return { ...rest, policy: { ...gate.policy, groups } };
}
