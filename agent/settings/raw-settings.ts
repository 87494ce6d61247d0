import type { WindowDocument } from "../policy/document.ts";
import type { Narrowing } from "../policy/narrow-policy.ts";

/** agent.json as it is written, once it has the shape of agent.schema.json: optional keys may be missing. */
export interface RawSettings {
  readonly gateway: string;
  readonly repository?: {
    readonly url?: string;
    readonly name?: string;
    readonly branch?: string;
    readonly group?: string;
    readonly policyPath?: string;
    readonly caFile?: string;
    readonly pinnedKeys?: readonly string[];
    readonly proxy?: string;
    readonly username?: string;
    readonly tokenFile?: string;
    readonly timeoutMs?: number;
    readonly maxPackBytes?: number;
    readonly mirrors?: readonly {
      readonly url: string;
      readonly caFile?: string;
      readonly pinnedKeys?: readonly string[];
      readonly proxy?: string;
      readonly username?: string;
      readonly tokenFile?: string;
    }[];
  };
  readonly poll?: { readonly schedule?: string; readonly jitterMs?: number; readonly staleAfterMs?: number };
  readonly trust?: {
    readonly mode?: "manifest" | "commit" | "both";
    readonly root?: string;
    readonly insecure?: boolean;
    readonly revokedFile?: string;
    readonly maxAgeS?: number;
    readonly graceS?: number;
    readonly whenExpired?: Narrowing;
    readonly whenRevoked?: Narrowing;
    readonly keepLabels?: readonly string[];
  };
  readonly interfaces: { readonly clients: readonly string[]; readonly upstream: readonly string[] };
  readonly nat?: "masquerade" | "none";
  readonly hosts?: { readonly [host: string]: { readonly interface?: string; readonly mac?: string } };
  readonly lifeline?: readonly string[];
  readonly dns: {
    readonly upstreams: readonly string[];
    readonly upstreamPort?: number;
    readonly validation?: "auto" | "no" | "yes";
    readonly trustAnchorsFile?: string;
    readonly namedPort?: number;
    readonly controlPort?: number;
    readonly user?: string;
  };
  readonly gate?: {
    readonly port?: number;
    readonly user?: string;
    readonly maxPinsPerClient?: number;
    readonly maxNamesPerClient?: number;
    readonly maxQueriesPerS?: number;
  };
  readonly records?: { readonly maxBytes?: number };
  readonly proxy?: {
    readonly user?: string;
    readonly httpsPort?: number;
    readonly httpPort?: number;
    readonly relayPort?: number;
    readonly maxConnections?: number;
    readonly maxConnectionsPerClient?: number;
  };
  readonly decisions?: { readonly maxRows?: number; readonly maxBytes?: number; readonly maxAgeS?: number };
  readonly api?: {
    readonly address?: string;
    readonly port?: number;
    readonly tls?: { readonly certificateFile: string; readonly keyFile: string };
    readonly user?: string;
    readonly maxBodyBytes?: number;
    readonly requestsPerMinute?: number;
    readonly metrics?: "open" | "key";
    readonly webhookSecretFile?: string;
  };
  readonly health?: {
    readonly confirmTimeoutMs?: number;
    readonly namespace?: string;
    readonly probes?: readonly RawProbe[];
  };
  readonly updates?: { readonly windows?: readonly WindowDocument[] };
  readonly drift?: { readonly response?: "heal" | "hold" };
  readonly report?: {
    readonly github?: RawForge;
    readonly gitlab?: RawForge;
    readonly gitea?: RawForge & { readonly api: string };
  };
  readonly driver?: "process" | "systemd";
  readonly paths?: { readonly state?: string; readonly run?: string };
}

export interface RawForge {
  readonly repository: string;
  readonly tokenFile: string;
  readonly api?: string;
  readonly caFile?: string;
}

export interface RawProbe {
  readonly name: string;
  readonly type: "dns" | "tcp" | "tls";
  readonly to: string;
  readonly host?: string;
  readonly port?: number;
  readonly expect?: "allow" | "deny";
  readonly timeoutMs?: number;
  readonly attempts?: number;
}
