import type { ByteCap, Policy, PortRange } from "../policy/policy.ts";
import type { MarkedSchedule } from "./policy-hours.ts";

/** One file of a release: a path relative to the release folder, and its bytes. */
export interface Artifact {
  readonly path: string;
  readonly bytes: Buffer;
  /** SHA-256 of the bytes in hex. */
  readonly digest: string;
}

/**
 * What a policy becomes. Artifacts: `block.zone`, `allow.zone`, `deny.zone`, `named.conf`, `policy.nft`, `gate.json` and `manifest.json`
 * (path → SHA-256 of the others); in SNI mode also `haproxy.cfg` and the proxy's
 * maps (`proxyMaps`). More than 4,096 names of a group are in `names-00.json` to `names-31.json` with their places in
 * `places.bin`, and more than that to resolve in `allow-00.zone` to `allow-31.zone`. `digest` is the SHA-256 of
 * manifest.json in hex and names the release's folder.
 */
export interface Release {
  readonly digest: string;
  readonly artifacts: readonly Artifact[];
  /** What `gate.json` and the shards say, whole. */
  readonly gate: GateRelease;
}

/** A set of ports that no entry of the policy tells apart, and the mark that the kernel's `ports` map gives it. */
export interface PortClass extends PortRange {
  readonly mark: number;
}

/** A byte cap of a group, and the number that it has in the kernel. */
export interface MarkedCap extends ByteCap {
  readonly group: string;
  readonly mark: number;
}

/** `gate.json`: all that the DNS gate needs. It never sees policy text. */
export interface GateRelease {
  readonly schema: 1;
  readonly policy: Policy;
  /** group name → mark */
  readonly groups: { readonly [name: string]: number };
  readonly classes: readonly PortClass[];
  /** The text of each schedule of the policy → itself and its mark; missing when nothing has hours or expires. */
  readonly schedules?: { readonly [text: string]: MarkedSchedule };
  /** Answered by named for `CANARY_NAME` TXT out of the allow zone. */
  readonly canary: string;
  /** Answered by named for `BLOCK_CANARY_NAME` TXT out of the block zone. */
  readonly blockCanary: string;
  /** Missing in releases of versions that counted no bytes. */
  readonly caps?: readonly MarkedCap[];
  /** Answered by named for `shardCanaryName` TXT out of each zone of a long list; missing when there is none. */
  readonly shardCanaries?: readonly string[];
  /** In gate.json: groups whose names are in the shards. Missing when there are none, and once they are put together. */
  readonly sharded?: readonly string[];
  /** The probe's reserved addresses and the host (or `*`) that each speaks as. */
  readonly probes: readonly { readonly address: string; readonly host: string }[];
}

/** Where a release came from; beside the release, outside its digest: `provenance.json`. */
export interface Provenance {
  readonly commit: string;
  readonly serial: number;
  readonly repository: string;
  /** Principals whose approvals were counted, sorted; empty when insecure. */
  readonly approvedBy: readonly string[];
  /** Digests of the locks by which it was approved; missing when that is not known. */
  readonly locks?: readonly string[];
}

/** What named answers for the zones of a release. */
export type Canaries = Pick<GateRelease, "canary" | "blockCanary" | "shardCanaries">;

/** Held in the allow zone as a TXT record with the text of `GateRelease.canary`: proves which allow zone is in force. */
export const CANARY_NAME = "release.canary.clawgress.invalid";
/** Held in the block zone as a TXT record with the text of `GateRelease.blockCanary`, so that a block zone of another release, or none, is noticed. */
export const BLOCK_CANARY_NAME = "blocks.canary.clawgress.invalid";
/** In no zone but under the deny zone's wildcard: NXDOMAIN with the deny zone's SOA proves that denying works. */
export const DENIED_CANARY_NAME = "denied.canary.clawgress.invalid";
/** The gate asks named from this address for what an audit lets pass. The block zone exempts it only while a group is under audit. */
export const AUDIT_SOURCE = "127.0.0.2";

/** Looked at first: what the policy denies for everyone, under whatever wildcard it is allowed. */
export const BLOCK_ZONE = "block.rpz.clawgress.invalid";
export const ALLOW_ZONE = "allow.rpz.clawgress.invalid";
export const DENY_ZONE = "deny.rpz.clawgress.invalid";
