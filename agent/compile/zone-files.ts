import { ALLOW_ZONE, BLOCK_ZONE, DENY_ZONE } from "./release.ts";
import { SHARDS, shardZone, shardZoneFile } from "./shards.ts";

export interface ZoneFile {
  readonly zone: string;
  readonly file: string;
}

/** Returns the zones of a release and their files, in the order in which named looks at them. */
export function zoneFiles({ isSharded }: { readonly isSharded: boolean }): readonly ZoneFile[] {
  const shards = isSharded ? SHARDS : [];
  return [
    { zone: BLOCK_ZONE, file: "block.zone" },
    { zone: ALLOW_ZONE, file: "allow.zone" },
    ...shards.map((shard) => ({ zone: shardZone(shard), file: shardZoneFile(shard) })),
    { zone: DENY_ZONE, file: "deny.zone" },
  ];
}
