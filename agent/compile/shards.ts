import { hasExpiring } from "../policy/expiring.ts";
import type { Group, Policy } from "../policy/policy.ts";

/**
 * Long lists of names are cut into shards by a hash of the name, so that a change of one name changes one file of each
 * kind, and whoever reads them reads that one again. Response policy zones may be 64, so shards are fewer.
 */
const SHARD_COUNT = 32;
/** A list of more names than this is cut; shorter ones are one file, as people read them best. */
export const MAX_WHOLE_NAMES = 4096;

/** 0 to 31. */
export const SHARDS: readonly number[] = Array.from({ length: SHARD_COUNT }, (_, index) => index);

/** Returns the shard of a name (FNV-1a, 32 bits). */
export function shardOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index++) hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  return (hash >>> 0) % SHARD_COUNT;
}

/** Returns the groups whose names are in shards, by name: long lists in which each name stands once, whatever expires. */
export function shardedGroups(policy: Policy): readonly string[] {
  const isSharded = ({ names }: Group): boolean => names.length > MAX_WHOLE_NAMES && !hasExpiring(names);
  return policy.groups.filter(isSharded).map(({ name }) => name);
}

/** The file that says where the rules of all shards are written. */
export const PLACES_FILE = "places.bin";

function digits(shard: number): string {
  return String(shard).padStart(2, "0");
}

/** Returns the zone of a shard of the allowed names. */
export function shardZone(shard: number): string {
  return `allow-${digits(shard)}.rpz.clawgress.invalid`;
}

export function shardZoneFile(shard: number): string {
  return `allow-${digits(shard)}.zone`;
}

/** Returns the name that a shard's zone answers with the digest of its records, as TXT. */
export function shardCanaryName(shard: number): string {
  return `allow-${digits(shard)}.canary.clawgress.invalid`;
}

export function shardNamesFile(shard: number): string {
  return `names-${digits(shard)}.json`;
}
