import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Policy } from "../policy/policy.ts";
import { addressView, needsProxy } from "../policy/proxied.ts";
import { probeAddresses, type Settings } from "../settings/settings.ts";
import { canonicalJson } from "./canonical-json.ts";
import { groupMarks } from "./grants.ts";
import { PROXY_CONF, renderProxyConf } from "./haproxy.ts";
import { renderNamedConf } from "./named-conf.ts";
import { renderPolicyTable } from "./nft-policy.ts";
import { policySchedules } from "./policy-hours.ts";
import { portClasses } from "./port-classes.ts";
import { renderProxyMaps } from "./proxy-maps.ts";
import type { Artifact, Canaries, GateRelease, PortClass, Release } from "./release.ts";
import { renderZones } from "./rpz.ts";

/** What a release depends on besides the policy. */
export type CompileSettings = Pick<Settings, "dns" | "proxy" | "health" | "hosts">;

/**
 * Returns the release of a policy. It is a pure function: the same policy and settings give the same bytes on every
 * machine, and so the same digest.
 * @throws AgentError POLICY_INVALID when a rule cannot be enforced, with its place; SETTINGS_INVALID when agent.json
 * holds something that cannot be written into a configuration.
 */
export function compile({ policy, settings }: { policy: Policy; settings: CompileSettings }): Release {
  const enforced = denyAllIfAsked(policy);
  const classes = portClasses(addressView(enforced));
  const zones = renderZones(enforced);
  const probes = probeAddresses(settings.health);
  const proxyFiles = needsProxy(enforced) ? renderProxyFiles(enforced, settings) : [];
  const files: readonly Artifact[] = [
    { path: "allow.zone", bytes: Buffer.from(zones.allow) },
    { path: "block.zone", bytes: Buffer.from(zones.block) },
    { path: "deny.zone", bytes: Buffer.from(zones.deny) },
    { path: "gate.json", bytes: Buffer.from(canonicalJson(gateRelease(enforced, classes, zones, settings))) },
    { path: "named.conf", bytes: Buffer.from(renderNamedConf(settings.dns, enforced.forward)) },
    { path: "policy.nft", bytes: renderPolicyTable(enforced, classes, probes, settings.hosts) },
    ...proxyFiles,
  ];
  const digests = files.map(({ path, bytes }) => [path, sha256(bytes)] as const);
  const manifest = Buffer.from(canonicalJson(Object.fromEntries(digests)));
  const artifacts = [...files, { path: "manifest.json", bytes: manifest }];
  return {
    digest: sha256(manifest),
    artifacts: artifacts.sort((a, b) => compareTexts(a.path, b.path)),
  };
}

function renderProxyFiles(policy: Policy, settings: CompileSettings): readonly Artifact[] {
  const maps = renderProxyMaps(policy, probeAddresses(settings.health));
  const texts = [[PROXY_CONF, renderProxyConf(settings)] as const, ...maps];
  return texts.map(([path, text]) => ({ path, bytes: Buffer.from(text) }));
}

/** Rules that stay written under `deny-all` reach no artifact, whoever reads them. */
function denyAllIfAsked(policy: Policy): Policy {
  if (policy.mode !== "deny-all") return policy;
  return { ...policy, groups: policy.groups.map((group) => ({ ...group, names: [], networks: [], isProxied: false })) };
}

function gateRelease(
  policy: Policy,
  classes: readonly PortClass[],
  { canary, blockCanary }: Canaries,
  settings: CompileSettings,
): GateRelease {
  const probes = probeAddresses(settings.health).flatMap(({ host, address4, address6 }) => [
    { address: address4, host },
    { address: address6, host },
  ]);
  const schedules = policySchedules(policy);
  return {
    schema: 1,
    policy,
    groups: Object.fromEntries(groupMarks(policy)),
    classes,
    ...(schedules.size === 0 ? {} : { schedules: Object.fromEntries(schedules) }),
    canary,
    blockCanary,
    probes,
  };
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
