import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { Group, NamePattern, NameRule, Place, Policy } from "../policy/policy.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { CompileMemory } from "./memory.ts";
import type { GateRelease } from "./release.ts";
import { PLACES_FILE, SHARDS, shardedGroups, shardOf } from "./shards.ts";

/** A rule as a shard holds it: its place is in places.txt, because it moves with every line that is added above it. */
export type ShardedRule = Omit<NameRule, "place">;

/** `names-00.json`: group name → its rules of this shard, in the order of the policy. */
export type NamesShardFile = { readonly [group: string]: readonly ShardedRule[] };

export interface NamesShard {
  readonly bytes: Buffer;
  readonly digest: string;
}

/** The names of the long lists of a policy, apart from it. */
export interface NameShards {
  /** Groups whose names are in the shards and not in the policy. */
  readonly groups: readonly string[];
  readonly names: readonly NamesShard[];
  readonly places: Buffer;
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
  const shares = SHARDS.map((shard) => ({ shard, lists: taken.map((): NameRule[] => []) }));
  for (const [index, group] of taken.entries()) {
    for (const rule of group.names) shares[shardOf(rule.pattern.name)]?.lists[index]?.push(rule);
  }
  const inputOf = (lists: readonly (readonly NameRule[])[]) => ({
    parts: joinLists(lists),
    text: JSON.stringify(lists.map(({ length }, index) => [groups[index], length])),
  });
  const names = shares.map(({ shard, lists }) => {
    const render = (): NamesShard => renderNames(taken, lists);
    return memory === undefined ? render() : memory.names.recall(shard, inputOf(lists), render);
  });
  const places = shares.map(({ shard, lists }) => {
    const render = (): Buffer => renderPlaces(taken, lists);
    return memory === undefined ? render() : memory.places.recall(shard, inputOf(lists), render);
  });
  return { rest, shards: { groups, names, places: joinPlaces(places) } };
}

function joinLists<Item>(lists: readonly (readonly Item[])[]): readonly Item[] {
  const [only] = lists;
  return lists.length === 1 && only !== undefined ? only : lists.flat();
}

function renderNames(groups: readonly Group[], lists: readonly (readonly NameRule[])[]): NamesShard {
  const file = Object.fromEntries(
    groups.map(({ name }, index) => [name, (lists[index] ?? []).map(({ place: _place, ...rule }) => rule)]),
  );
  const bytes = Buffer.from(canonicalJson(file));
  return { bytes, digest: createHash("sha256").update(bytes).digest("hex") };
}

function renderPlaces(groups: readonly Group[], lists: readonly (readonly NameRule[])[]): Buffer {
  const lines = groups.flatMap(({ name }, index) =>
    (lists[index] ?? []).map(
      ({ pattern, place: { file, line, column, pointer } }) =>
        // None of the first four holds a tab, and none of all a line feed: both are refused in every text of a policy.
        `${name}\t${patternText(pattern)}\t${line}\t${column}\t${JSON.stringify([file, pointer])}\n`,
    ),
  );
  return Buffer.from(lines.join(""));
}

/** The first line says how many bytes each shard has. */
function joinPlaces(places: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(`${places.map(({ length }) => length).join(" ")}\n`), ...places]);
}

/** Returns the place of a rule of the shards. @throws RangeError when places.txt has none */
export function findPlace(places: Buffer, group: string, pattern: NamePattern): Place {
  const chunk = sliceOfShard(places, shardOf(pattern.name));
  const start = `${group}\t${patternText(pattern)}\t`;
  const isFirst = chunk.subarray(0, start.length).equals(Buffer.from(start));
  const at = isFirst ? 0 : chunk.indexOf(`\n${start}`) + 1;
  if (at === 0 && !isFirst) throw new RangeError(`${PLACES_FILE} has no ${JSON.stringify(patternText(pattern))}`);
  const end = chunk.indexOf("\n", at);
  return parsePlace(chunk.subarray(at, end).toString("utf8")).place;
}

/**
 * Returns a release as it was before its long lists were cut into shards: groups whole, each rule with its place.
 * @throws RangeError when the parts are not of one release
 */
export function joinShards(gate: GateRelease, shards: readonly NamesShardFile[], places: Buffer): GateRelease {
  const { sharded = [], ...rest } = gate;
  const known = new Map<string, Place>();
  const body = places.subarray(places.indexOf("\n") + 1).toString("utf8");
  for (const line of body.split("\n").slice(0, -1)) {
    const { key, place } = parsePlace(line);
    known.set(key, place);
  }
  const rulesOf = (group: string): readonly NameRule[] => {
    const rules = shards
      .flatMap((shard) => shard[group] ?? [])
      .map((rule) => {
        const text = patternText(rule.pattern);
        const place = known.get(`${group}\t${text}`);
        if (place === undefined) throw new RangeError(`${PLACES_FILE} has no ${JSON.stringify(text)}`);
        return { text, rule: { ...rule, place } };
      });
    return rules.sort((a, b) => compareTexts(a.text, b.text)).map(({ rule }) => rule);
  };
  const groups = gate.policy.groups.map((group) =>
    sharded.includes(group.name) ? { ...group, names: rulesOf(group.name) } : group,
  );
  return { ...rest, policy: { ...gate.policy, groups } };
}

function sliceOfShard(places: Buffer, shard: number): Buffer {
  const head = places.indexOf("\n") + 1;
  const lengths = places.subarray(0, head).toString("latin1").trim().split(" ").map(Number);
  const start = head + lengths.slice(0, shard).reduce((sum, length) => sum + length, 0);
  return places.subarray(start, start + (lengths[shard] ?? 0));
}

function parsePlace(text: string): { readonly key: string; readonly place: Place } {
  const [group = "", pattern = "", line, column, rest = "[]"] = text.split("\t");
  const [file = "", pointer = ""] = JSON.parse(rest) as readonly string[];
  return { key: `${group}\t${pattern}`, place: { file, line: Number(line), column: Number(column), pointer } };
}
