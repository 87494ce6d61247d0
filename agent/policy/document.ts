import type { Day } from "./hours.ts";
import type { CapPeriod } from "./policy.ts";

/** The policy file as written, after the schema has accepted its shape; names and networks in it are not yet checked. */
export interface PolicyDocument {
  readonly version: 1;
  readonly mode?: Mode;
  readonly allow?: AllowDocument;
  readonly deny?: DenyDocument;
  readonly labels?: { readonly [entry: string]: string };
  readonly proxy?: ProxyDocument;
  readonly hosts?: { readonly [name: string]: HostDocument };
  readonly groups?: { readonly [name: string]: ListsDocument };
  /** Paths of files, from the root of the repository. */
  readonly include?: readonly string[];
  readonly limits?: LimitsDocument;
  readonly time_window?: WindowDocument;
  readonly domain_time_windows?: { readonly [name: string]: WindowDocument };
  readonly dns?: { readonly forward?: { readonly [zone: string]: readonly string[] | ForwardDocument } };
  readonly tests?: readonly TestDocument[];
}

/** A zone of `dns.forward` with more than its resolvers. */
export interface ForwardDocument {
  readonly resolvers: readonly string[];
  readonly answers?: readonly string[];
}

/** A question that the policy must answer as its writers expect. */
export interface TestDocument {
  readonly from: string;
  readonly to: string;
  readonly expect: "allow" | "deny";
  /** Without it, hours and expiry are left out of account. */
  readonly at?: string;
}

/** Hours of the week; times are `HH:MM` or `HH:MM:SS`. */
export interface WindowDocument {
  readonly days?: readonly Day[];
  readonly start: string;
  readonly end: string;
  readonly tz?: string;
}

export type Mode = "enforce" | "audit" | "deny-all";

/** What `allow` and a named list of `groups` have in common. */
export interface ListsDocument {
  readonly domains?: readonly DomainEntry[];
  readonly ips?: readonly NetworkEntry[];
  readonly ports?: readonly PortEntry[];
  readonly subdomains?: boolean;
}

export interface AllowDocument extends ListsDocument {
  readonly inherit?: boolean;
  /** Names of `groups` whose entries are added. */
  readonly groups?: readonly string[];
}

export interface DenyDocument {
  readonly domains?: readonly DomainEntry[];
  readonly ips?: readonly NetworkEntry[];
  readonly subdomains?: boolean;
}

export type PortEntry = number | string;

/** What an entry object may carry beside its name or network. */
export interface EntryDetails {
  readonly ports?: readonly PortEntry[];
  readonly label?: string;
  readonly owner?: string;
  readonly reason?: string;
  readonly ticket?: string;
  readonly expires?: string;
  readonly answers?: readonly string[];
}

export type DomainEntry = string | (EntryDetails & { readonly domain: string });
export type NetworkEntry = string | (EntryDetails & { readonly network: string });

export interface ProxyDocument {
  readonly mode?: "disabled" | "sni-allowlist";
  readonly backend?: "none" | "haproxy";
  readonly domains?: readonly string[];
  readonly mtls?: { readonly enabled?: boolean };
}

export interface LimitsDocument {
  readonly egress_kbps?: number;
}

export interface HostDocument {
  readonly sources: readonly string[];
  readonly mode?: Mode;
  readonly allow?: AllowDocument;
  readonly deny?: DenyDocument;
  readonly proxy?: ProxyDocument;
  readonly limits?: LimitsDocument;
  readonly time_window?: WindowDocument;
  readonly domain_time_windows?: { readonly [name: string]: WindowDocument };
  readonly exfil?: ExfilDocument;
}

/** How many bytes may go to a name in a period. */
export interface ExfilDocument {
  readonly domains: { readonly [name: string]: { readonly bytes: number; readonly period: CapPeriod } };
}
