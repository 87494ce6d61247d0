import { join } from "node:path";
import { setImmediate as otherWork } from "node:timers/promises";
import type { NamesShardFile } from "../compile/name-shards.ts";
import { readPlace } from "../compile/shard-places.ts";
import { PLACES_FILE, SHARDS, shardNamesFile, shardOf } from "../compile/shards.ts";
import { readFileBytes } from "../host/files.ts";
import { buildNameTable, type NameLookup, type NameTable } from "../policy/name-table.ts";
import type { NameRule, Place, PolicyEntry } from "../policy/policy.ts";

/** The long lists of a release, cut into shards. A shard that two releases have in common is in memory once. */
export interface LoadedShards {
  /** Group → the names of it, for a decider. */
  readonly tables: ReadonlyMap<string, NameTable>;
  /** Returns where an entry is written. */
  placeOf(entry: PolicyEntry): Place;
  /** By shard, for the release that comes after. */
  readonly parts: readonly Shard[];
  readonly places: Places;
}

interface Shard {
  readonly digest: string;
  readonly lists: ReadonlyMap<string, readonly NameRule[]>;
  readonly tables: ReadonlyMap<string, NameTable>;
}

interface Places {
  readonly digest: string;
  readonly bytes: Buffer;
}

const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** Rules are shared between releases, and each release has them in other lines. */
const ELSEWHERE: Place = { file: "", line: 0, column: 0, pointer: "" };

/**
 * Returns the long lists of a release. What the release in force has too is taken from there; clients are answered
 * between any two shards that are read. `read` returns a file that is what the manifest lists.
 * @throws Error when a file is missing or damaged
 */
export async function loadShards(
  folder: string,
  groups: readonly string[],
  digests: { readonly [file: string]: unknown },
  known: LoadedShards | null,
): Promise<LoadedShards> {
  const parts: Shard[] = [];
  for (const shard of SHARDS) {
    const file = shardNamesFile(shard);
    const digest = String(digests[file]);
    const same = known?.parts[shard];
    parts.push(same?.digest === digest ? same : indexShard(digest, await readChecked(folder, file, digest)));
    if (same?.digest !== digest) await otherWork();
  }
  const places = await readPlacesFile(folder, String(digests[PLACES_FILE]), known?.places ?? null);
  const tables = new Map(groups.map((group) => [group, joinTables(group, parts)]));
  return {
    tables,
    parts,
    places,
    placeOf: (entry) => {
      if (entry.place !== ELSEWHERE || !("pattern" in entry)) return entry.place;
      const shard = shardOf(entry.pattern.name);
      let before = 0;
      for (const group of groups) {
        const rules = parts[shard]?.lists.get(group) ?? [];
        const index = rules.indexOf(entry as NameRule);
        if (index >= 0) return readPlace(places.bytes, shard, before + index);
        before += rules.length;
      }
      return entry.place;
    },
  };
}

async function readPlacesFile(folder: string, digest: string, known: Places | null): Promise<Places> {
  return known?.digest === digest ? known : { digest, bytes: await readChecked(folder, PLACES_FILE, digest) };
}

/** Hashed beside the thread that answers clients. */
async function readChecked(folder: string, file: string, digest: string): Promise<Buffer> {
  const bytes = await readFileBytes(join(folder, file), MAX_FILE_BYTES);
  const found = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
  if (found !== digest) throw new Error(`${file} is not what manifest.json lists`);
  return bytes;
}

function indexShard(digest: string, bytes: Buffer): Shard {
  const file = Object.entries(JSON.parse(bytes.toString("utf8")) as NamesShardFile);
  const lists = new Map(file.map(([group, rules]) => [group, rules.map((rule) => ({ ...rule, place: ELSEWHERE }))]));
  return { digest, lists, tables: new Map([...lists].map(([group, rules]) => [group, buildNameTable(rules)])) };
}

function joinTables(group: string, parts: readonly Shard[]): NameTable {
  const own = parts.map(({ tables }) => tables.get(group));
  const lookup = (kind: "exact" | "subdomains"): NameLookup<readonly NameRule[]> => ({
    get: (name) => own[shardOf(name)]?.[kind].get(name),
    size: own.reduce((sum, table) => sum + (table?.[kind].size ?? 0), 0),
  });
  return { exact: lookup("exact"), subdomains: lookup("subdomains") };
}
