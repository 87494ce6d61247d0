import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Policy } from "../policy/policy.ts";
import { addressView, needsProxy } from "../policy/proxied.ts";
import { probeAddresses, type Settings } from "../settings/settings.ts";
import { markCaps } from "./byte-caps.ts";
import { canonicalJson } from "./canonical-json.ts";
import { groupMarks } from "./grants.ts";
import { PROXY_CONF, renderProxyConf } from "./haproxy.ts";
import type { CompileMemory } from "./memory.ts";
import { type NameShards, takeShards } from "./name-shards.ts";
import { renderNamedConf } from "./named-conf.ts";
import { renderPolicyTable } from "./nft-policy.ts";
import { policySchedules } from "./policy-hours.ts";
import { portClasses } from "./port-classes.ts";
import { renderProxyMaps } from "./proxy-maps.ts";
import type { Artifact, GateRelease, PortClass, Release } from "./release.ts";
import { type RpzZones, renderZones } from "./rpz.ts";
import { PLACES_FILE, shardNamesFile, shardZoneFile } from "./shards.ts";

/** What a release depends on besides the policy. */
export type CompileSettings = Pick<Settings, "dns" | "proxy" | "health" | "hosts">;

/**
 * Returns the release of a policy. It is a pure function: the same policy and settings give the same bytes on every
 * machine, and so the same digest. A memory of the last one only makes it faster.
 * @throws AgentError POLICY_INVALID when a rule cannot be enforced, with its place; SETTINGS_INVALID when agent.json
 * holds something that cannot be written into a configuration.
 */
export function compile({
  policy,
  settings,
  memory,
}: {
  readonly policy: Policy;
  readonly settings: CompileSettings;
  readonly memory?: CompileMemory;
}): Release {
  const enforced = denyAllIfAsked(policy);
  const classes = portClasses(addressView(enforced));
  const zones = renderZones(enforced, memory);
  const probes = probeAddresses(settings.health);
  const proxyFiles = needsProxy(enforced) ? renderProxyFiles(enforced, settings) : [];
  const gate = gateRelease(enforced, classes, zones, settings);
  const { rest, shards } = takeShards(enforced, memory);
  const gateJson = shards === null ? gate : { ...gate, policy: rest, sharded: shards.groups };
  const files: readonly Artifact[] = [
    artifact("allow.zone", Buffer.from(zones.allow)),
    artifact("block.zone", Buffer.from(zones.block)),
    artifact("deny.zone", Buffer.from(zones.deny)),
    artifact("gate.json", Buffer.from(canonicalJson(gateJson))),
    artifact("named.conf", Buffer.from(renderNamedConf(settings.dns, enforced.forward, zones.shards.length > 0))),
    artifact("policy.nft", renderPolicyTable(enforced, classes, probes, settings.hosts)),
    ...zones.shards.map(({ bytes, digest }, shard) => ({ path: shardZoneFile(shard), bytes, digest })),
    ...(shards === null ? [] : shardFiles(shards)),
    ...proxyFiles,
  ];
  const digests = files.map(({ path, digest }) => [path, digest] as const);
  const manifest = artifact("manifest.json", Buffer.from(canonicalJson(Object.fromEntries(digests))));
  const artifacts = [...files, manifest];
  return { digest: manifest.digest, artifacts: artifacts.sort((a, b) => compareTexts(a.path, b.path)), gate };
}

function shardFiles({ names, places }: NameShards): readonly Artifact[] {
  return [...names.map((file, shard) => ({ path: shardNamesFile(shard), ...file })), { path: PLACES_FILE, ...places }];
}

function artifact(path: string, bytes: Buffer): Artifact {
  return { path, bytes, digest: sha256(bytes) };
}

function renderProxyFiles(policy: Policy, settings: CompileSettings): readonly Artifact[] {
  const maps = renderProxyMaps(policy, probeAddresses(settings.health));
  const texts = [[PROXY_CONF, renderProxyConf(settings)] as const, ...maps];
  return texts.map(([path, text]) => artifact(path, Buffer.from(text)));
}

/** Rules that stay written under `deny-all` reach no artifact, whoever reads them. */
function denyAllIfAsked(policy: Policy): Policy {
  if (policy.mode !== "deny-all") return policy;
  return { ...policy, groups: policy.groups.map((group) => ({ ...group, names: [], networks: [], isProxied: false })) };
}

function gateRelease(
  policy: Policy,
  classes: readonly PortClass[],
  { canary, blockCanary, shards }: RpzZones,
  settings: CompileSettings,
): GateRelease {
  const probes = probeAddresses(settings.health).flatMap(({ host, address4, address6 }) => [
    { address: address4, host },
    { address: address6, host },
  ]);
  const caps = markCaps(policy);
  const schedules = policySchedules(policy);
  const shardCanaries = shards.length === 0 ? {} : { shardCanaries: shards.map((shard) => shard.canary) };
  const groups = Object.fromEntries(groupMarks(policy));
  return {
    ...{ schema: 1, policy, groups, classes, canary, blockCanary, ...shardCanaries, probes },
    ...(caps.length === 0 ? {} : { caps }),
    ...(schedules.size === 0 ? {} : { schedules: Object.fromEntries(schedules) }),
  };
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
