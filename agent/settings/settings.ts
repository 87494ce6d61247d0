import type { Hours } from "../policy/hours.ts";
import type { Narrowing } from "../policy/narrow-policy.ts";
import type { Cidr, DomainName } from "../policy/policy.ts";

/** `agent.json` after validation: everything that belongs to this gateway and not to the policy. Paths are absolute. */
export interface Settings {
  readonly version: 1;
  /** Name of this gateway: in statuses (`clawgress/<gateway>`) and logs. */
  readonly gateway: string;
  readonly repository: RepositorySettings;
  readonly poll: {
    readonly schedule: string;
    readonly jitterMs: number;
    /** Without a poll that succeeded for this long, the gateway is stale. */
    readonly staleAfterMs: number;
  };
  readonly trust: TrustSettings;
  readonly interfaces: { readonly clients: readonly string[]; readonly upstream: readonly string[] };
  readonly nat: "masquerade" | "none";
  /** Where the machines of a host entry are: their packets from elsewhere are dropped. */
  readonly hosts: { readonly [host: string]: HostBinding };
  /** Management prefixes that stay reachable whatever the policy says. */
  readonly lifeline: readonly Cidr[];
  readonly dns: DnsSettings;
  readonly gate: GateSettings;
  readonly records: RecordSettings;
  readonly proxy: ProxySettings;
  readonly decisions: DecisionSettings;
  readonly api: ApiSettings;
  readonly health: HealthSettings;
  /** When commits that open anything may come into force; without hours, at any time. */
  readonly updates: { readonly windows: readonly Hours[] };
  /** What becomes of what somebody changed by hand: put right, or left until an operator resumes. */
  readonly drift: { readonly response: "heal" | "hold" };
  /** Where commit statuses go; null when nowhere. */
  readonly report: { readonly forge: ForgeSettings | null };
  /** How the programs that outlive the agent are run: detached, or as transient units of systemd. */
  readonly driver: "process" | "systemd";
  readonly paths: { readonly state: string; readonly run: string };
}

/** Null leaves that side open. */
export interface HostBinding {
  readonly interface: string | null;
  /** Ethernet address, six pairs of lower-case hex digits. */
  readonly mac: string | null;
}

/** One Git server, and how it is reached. */
export interface RemoteSettings {
  readonly url: string;
  readonly caFile: string | null;
  /** `sha256/…` of the keys that the server may have; empty: any. */
  readonly pinnedKeys: readonly string[];
  readonly proxy: string | null;
  readonly username: string;
  readonly tokenFile: string | null;
}

export interface RepositorySettings extends Omit<RemoteSettings, "url"> {
  /** Null: the gateway's own repository, in its state folder, is the source. */
  readonly url: string | null;
  /** Other servers that carry the same repository: any may be down, and none may tell another story. */
  readonly mirrors: readonly RemoteSettings[];
  readonly branch: string;
  /** The opaque name that the lock must carry, so that a signature is never valid for another repository. */
  readonly name: string;
  /** The gateway group that the lock must carry. */
  readonly group: string;
  readonly policyPath: string;
  readonly timeoutMs: number;
  readonly maxPackBytes: number;
}

export interface TrustSettings {
  /** What must be signed: the lock, the head commit, or both. */
  readonly mode: "manifest" | "commit" | "both";
  /** The root of trust that this gateway was installed with. */
  readonly root: string;
  /** True runs unsigned policies; shown in status and statuses. */
  readonly insecure: boolean;
  /** Fingerprints that count nowhere on this gateway, one a line; read at every poll. */
  readonly revokedFile: string | null;
  /** The longest time for which a state is taken for the newest without a proof; null: no such bound. */
  readonly maxAgeS: number | null;
  /** How long a state that is not fresh any more only raises an alarm. */
  readonly graceS: number;
  /** What happens when the grace is over as well. */
  readonly whenExpired: Narrowing;
  /** What happens when what is enforced has lost approvals to a revocation. */
  readonly whenRevoked: Narrowing;
  /** The labels whose rules `tighten` keeps. */
  readonly keepLabels: readonly string[];
}

export interface DnsSettings {
  /** Addresses of resolvers; named forwards only to them, and the agent resolves the forge by them. */
  readonly upstreams: readonly string[];
  readonly upstreamPort: number;
  readonly validation: "auto" | "no" | "yes";
  /** BIND `trust-anchors` statement to include when validation is `yes`. */
  readonly trustAnchorsFile: string | null;
  readonly namedPort: number;
  readonly controlPort: number;
  readonly user: string;
}

export interface GateSettings {
  readonly port: number;
  /** A user name or numeric id without other use: the output rules confine it. */
  readonly user: string;
  readonly maxPinsPerClient: number;
  readonly maxNamesPerClient: number;
  readonly maxQueriesPerS: number;
}

export interface RecordSettings {
  /** Bytes of both files of deny records together, the current and the one before. */
  readonly maxBytes: number;
}

/** The proxy of SNI mode; it only runs while the policy needs it. */
export interface ProxySettings {
  /** A user name or numeric id without other use: the output rules confine it. */
  readonly user: string;
  /** Where intercepted connections to 443 and 80 arrive. */
  readonly httpsPort: number;
  readonly httpPort: number;
  /** Where it sends itself, over loopback, what goes to names that have a byte cap. */
  readonly relayPort: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerClient: number;
}

/** Bounds of the stored decisions; what is oldest goes first. */
export interface DecisionSettings {
  readonly maxRows: number;
  readonly maxBytes: number;
  readonly maxAgeS: number;
}

export interface ApiSettings {
  readonly address: string;
  /** Null: decisions are stored, and nothing listens. */
  readonly port: number | null;
  readonly tls: { readonly certificateFile: string; readonly keyFile: string } | null;
  /** A user name or numeric id without other use. */
  readonly user: string;
  readonly maxBodyBytes: number;
  readonly requestsPerMinute: number;
  readonly metrics: "open" | "key";
  readonly webhookSecretFile: string | null;
}

export interface HealthSettings {
  readonly confirmTimeoutMs: number;
  /** Name of the network namespace in which probes run as a client. */
  readonly namespace: string;
  readonly probes: readonly ProbeSettings[];
}

/**
 * A probe: from the gateway, or as a client of a host entry (or `*`), to a name. In SNI mode a `tcp` probe to 443 sees no
 * more than the proxy; `tls` sees whether the name's server answers.
 */
export interface ProbeSettings {
  readonly name: string;
  readonly type: "dns" | "tcp" | "tls";
  readonly from: { readonly gateway: true } | { readonly host: string };
  readonly to: DomainName;
  readonly port: number | null;
  readonly expect: "allow" | "deny";
  readonly timeoutMs: number;
  readonly attempts: number;
}

export interface ForgeSettings {
  readonly kind: "github" | "gitlab" | "gitea";
  readonly api: string;
  /** `owner/name`; with GitLab its number, or its path with groups. */
  readonly repository: string;
  readonly tokenFile: string;
  readonly caFile: string | null;
}

/** The reserved client addresses of the n-th distinct probe host (0–11), and the gateway's side of that link. */
export interface ProbeAddress {
  readonly host: string;
  readonly address4: string;
  readonly address6: string;
}

/** Interface names of the probe link and the addresses of the gateway's side (RFC 7335 range for IPv4; ULA for IPv6). */
export const probeLink = {
  gatewayInterface: "cgprobe",
  gateway4: "192.0.0.1",
  prefixLength4: 28,
  gateway6: "fdc1:a496:e550::1",
  prefixLength6: 64,
} as const;

/** Returns every address that a probe speaks from. */
export function probeClients(health: HealthSettings): ReadonlySet<string> {
  return new Set(probeAddresses(health).flatMap(({ address4, address6 }) => [address4, address6]));
}

/** Returns one pair of reserved client addresses for each distinct host that a probe speaks as, sorted by host name. */
export function probeAddresses(health: HealthSettings): readonly ProbeAddress[] {
  const hosts = health.probes.flatMap((probe) => ("host" in probe.from ? [probe.from.host] : []));
  const distinct = [...new Set(["*", ...hosts])].sort();
  return distinct.map((host, index) => ({
    host,
    address4: `192.0.0.${index + 2}`,
    address6: `fdc1:a496:e550::${(index + 2).toString(16)}`,
  }));
}
