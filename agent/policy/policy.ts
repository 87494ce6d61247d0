/**
 * The normalised policy: plain, serialisable data that decide, compile and the gate read.
 * Everything in it is validated, lower-cased, sorted and free of duplicates.
 */

import type { Hours } from "./hours.ts";

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A lower-case host name in A-label form without a trailing dot: LDH labels (and `_` first) of 1–63 bytes, 253 bytes in all. */
export type DomainName = Brand<string, "DomainName">;
/** A network in canonical text, host bits zero: `192.0.2.0/24`, `2001:db8::/32`. */
export type Cidr = Brand<string, "Cidr">;

export type Protocol = "tcp" | "udp";

/** Ports `first` to `last`, both included, 1–65535. Its canonical text (`portText`) is `443/tcp` or `8000-8100/udp`. */
export interface PortRange {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

/** Where something stands in the source text: file, 1-based line and column, and the JSON pointer. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly pointer: string;
}

/** `exact`: that name only. `subdomains`: every name below it, at any depth, not itself (written `*.name`). */
export interface NamePattern {
  readonly kind: "exact" | "subdomains";
  readonly name: DomainName;
}

/** What people wrote beside an entry, 1 to 500 characters each; for `explain` and records, never for a zone or ruleset. */
export interface Notes {
  readonly owner?: string;
  readonly reason?: string;
  readonly ticket?: string;
}

export interface NameRule {
  readonly pattern: NamePattern;
  readonly ports: readonly PortRange[];
  readonly label: string | null;
  readonly notes?: Notes;
  /** Private networks that the name may resolve to; without it, none. */
  readonly answers?: readonly Cidr[];
  /** Seconds since the epoch: from then on the rule opens nothing. */
  readonly expiresS?: number;
  readonly place: Place;
}

export interface NetworkRule {
  readonly network: Cidr;
  readonly ports: readonly PortRange[];
  readonly label: string | null;
  readonly notes?: Notes;
  readonly expiresS?: number;
  readonly place: Place;
}

export type CapPeriod = "second" | "minute" | "hour" | "day";

/** How many bytes one host may send to a name in each calendar period of UTC; all names of a wildcard share them. */
export interface ByteCap {
  readonly pattern: NamePattern;
  /** 1 to 2^53 - 1. */
  readonly bytes: number;
  readonly period: CapPeriod;
  readonly place: Place;
}

/** Hours in which rules hold, as written. */
export interface Window extends Hours {
  readonly place: Place;
}

/** Hours of the names of a pattern; the most specific pattern counts. */
export interface NameWindow {
  readonly pattern: NamePattern;
  readonly hours: Hours;
  readonly place: Place;
}

/** What may be reached: at most one rule a name pattern or network and `expiresS`, both sorted. */
export interface Rules {
  readonly names: readonly NameRule[];
  readonly networks: readonly NetworkRule[];
}

/** A name that is denied whatever allows it. */
export interface NameDenial {
  readonly pattern: NamePattern;
  readonly label: string | null;
  readonly notes?: Notes;
  /** Seconds since the epoch: from then on it denies nothing. */
  readonly expiresS?: number;
  readonly place: Place;
}

/** A network that is denied whatever allows it, on every port. */
export interface NetworkDenial {
  readonly network: Cidr;
  readonly label: string | null;
  readonly notes?: Notes;
  readonly expiresS?: number;
  readonly place: Place;
}

/** Anything that stands in a list of a policy. */
export type PolicyEntry = NameRule | NetworkRule | NameDenial | NetworkDenial;

/** What wins over every rule, however specific: at most one entry a name pattern and a network, both sorted. */
export interface Denials {
  readonly names: readonly NameDenial[];
  readonly networks: readonly NetworkDenial[];
}

/** A zone that resolvers of its own answer, named in the order as written; they are asked on port 53. */
export interface ForwardZone {
  readonly zone: DomainName;
  /** Addresses in canonical text, at least one. */
  readonly resolvers: readonly string[];
  /** Private networks that names of the zone may resolve to; without it, none. */
  readonly answers?: readonly Cidr[];
  readonly place: Place;
}

/** One set of rules: the global one is named `*`, the others after the host that has rules or a `proxy` of its own. */
export interface Group extends Rules {
  readonly name: string;
  /** Denied besides what the policy denies for all; missing when nothing is. */
  readonly deny?: Denials;
  /** `audit`: what would be denied is recorded and let pass. Missing: enforced. */
  readonly mode?: "audit" | "deny-all";
  /** SNI mode: TCP on 443 and 80 goes through the proxy, which judges the name; no address opens 443, and UDP never does. */
  readonly isProxied: boolean;
  /** Byte caps of the one host that has this group, at most one a pattern, sorted; missing when it has none. */
  readonly caps?: readonly ByteCap[];
  /** Outside of these hours the group's rules open nothing; missing: they always hold. */
  readonly window?: Window;
  /** Besides those of the policy, and before them; sorted by pattern. Missing when there are none. */
  readonly nameWindows?: readonly NameWindow[];
  readonly place: Place;
}

/** What a host may use. */
export interface Limits {
  /** 1,000 bits per second towards the internet, 1–100,000,000. */
  readonly egressKbps: number;
  readonly place: Place;
}

/** A named set of client addresses and the group whose rules they follow (`*` when the host has neither rules nor a `proxy` of its own). */
export interface HostEntry {
  readonly name: string;
  readonly sources: readonly Cidr[];
  readonly group: string;
  /** For all sources together; null: none. */
  readonly limits: Limits | null;
  readonly place: Place;
}

export interface Policy {
  readonly version: 1;
  /** As written for all; what counts for a client is the mode of its group, but that `deny-all` counts for all. */
  readonly mode: "enforce" | "audit" | "deny-all";
  /** Sorted by zone; missing when there is none. */
  readonly forward?: readonly ForwardZone[];
  /** Denied for everyone; missing when nothing is. */
  readonly deny?: Denials;
  /** Hours of names for every group that has none of its own for the same pattern; sorted. Missing when there are none. */
  readonly nameWindows?: readonly NameWindow[];
  /** Sorted by name; `*` is always there (empty under deny-all). */
  readonly groups: readonly Group[];
  /** Sorted by name. */
  readonly hosts: readonly HostEntry[];
  /** For each address that is in no host entry; null: none. */
  readonly limits: Limits | null;
}

/** Why a text is no policy: where, what, and what to do about it. `severity: "warning"` never refuses. */
export interface Issue {
  readonly severity: "error" | "warning";
  readonly code: "POLICY_INVALID" | "POLICY_UNSUPPORTED" | "POLICY_TEST_FAILED";
  readonly place: Place;
  readonly message: string;
  readonly remedy: string;
}

export type PolicyResult =
  | { readonly ok: true; readonly policy: Policy; readonly warnings: readonly Issue[] }
  | { readonly ok: false; readonly issues: readonly Issue[] };
