import type { CompileSettings } from "../../agent/compile/compile.ts";
import type { BaseSettings } from "../../agent/compile/nft-confine.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import type { Cidr, Policy } from "../../agent/policy/policy.ts";
import type { DnsSettings } from "../../agent/settings/settings.ts";

/** Returns the normalised policy of a document that must be valid. */
export function policyOf(document: object, file = "policy.json"): Policy {
  const bytes = Buffer.from(JSON.stringify(document, null, 2));
  const result = parsePolicy(bytes, file, { maxBytes: 64 * 1024 * 1024 });
  if (!result.ok) throw new Error(result.issues.map(({ message }) => message).join("; "));
  return result.policy;
}

export const dnsSettings: DnsSettings = {
  upstreams: ["198.51.100.53", "2001:db8:ffff::53"],
  upstreamPort: 53,
  validation: "no",
  trustAnchorsFile: null,
  namedPort: 5301,
  controlPort: 5302,
  user: "30001",
};

/** Settings of a gateway whose probes speak as nobody in particular and as each of some hosts. */
export function settingsWith(
  hosts: readonly string[] = [],
  dns: Partial<DnsSettings> = {},
): CompileSettings & BaseSettings {
  return {
    dns: { ...dnsSettings, ...dns },
    gate: { port: 5300, user: "30002", maxPinsPerClient: 1000, maxNamesPerClient: 1000, maxQueriesPerS: 1000 },
    proxy: {
      user: "30003",
      httpsPort: 5443,
      httpPort: 5480,
      relayPort: 5490,
      maxConnections: 1000,
      maxConnectionsPerClient: 100,
    },
    health: {
      confirmTimeoutMs: 30_000,
      namespace: "probe",
      probes: hosts.map((host) => ({
        name: `as ${host}`,
        type: "dns",
        from: { host },
        to: "api.example.com" as never,
        port: null,
        expect: "allow",
        timeoutMs: 1000,
        attempts: 1,
      })),
    },
    interfaces: { clients: ["lan0", "lan1"], upstream: ["wan0"] },
    nat: "masquerade",
    hosts: {},
    lifeline: ["10.99.0.0/24", "10.99.0.128/25", "fd99::/64"] as Cidr[],
  };
}

export const baseUsers = { dnsUid: 30_001, gateUid: 30_002, proxyUid: 30_003 } as const;

/** Returns the text of an artifact of a release. */
export function artifactText(release: { artifacts: readonly { path: string; bytes: Buffer }[] }, path: string): string {
  const artifact = release.artifacts.find((candidate) => candidate.path === path);
  if (artifact === undefined) throw new Error(`the release has no ${path}`);
  return artifact.bytes.toString("utf8");
}
