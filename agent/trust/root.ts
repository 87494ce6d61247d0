import { compareTexts } from "../policy/compare-texts.ts";
import type { Cidr } from "../policy/policy.ts";
import type { OpenPgpKey } from "./openpgp-key.ts";
import type { SshPublicKey } from "./ssh-key.ts";
import type { Certifier } from "./sshsig.ts";

/** Who is trusted: the parsed `trust/<root>.json`. */
export interface Root {
  readonly version: 1;
  /** Number of this root in the chain, from 1; also the name of its file. */
  readonly root: number;
  /** The opaque name of the repository that it is for. */
  readonly repository: string;
  /** Sorted by name. */
  readonly principals: readonly Principal[];
  readonly roles: {
    /** Who approves locks. */
    readonly policy: Role;
    /** Who approves the next root. */
    readonly root: Role;
    /** Who may prolong the time for which the gateways believe that they see the newest state; optional. */
    readonly freshness: Role | null;
  };
  /** Who else may approve what; the first that fits counts. */
  readonly rules: readonly Rule[];
  /** Fingerprints of keys, certificates and authorities that count nowhere any more. */
  readonly revoked: ReadonlySet<string>;
  /** Set after serials were driven up by those who should not have: @see readSerials */
  readonly serials: { readonly void: number; readonly restart: number } | null;
}

/** A person or machine that is counted once, however many keys it has. */
export interface Principal {
  readonly name: string;
  readonly keys: readonly PrincipalKey[];
  /** The certificates that count as this principal's keys. */
  readonly certifiers: readonly Certifier[];
  /** OpenPGP certificates, which count for signatures of commits and for nothing else. */
  readonly openpgp: readonly OpenPgpKey[];
}

export interface PrincipalKey extends SshPublicKey {
  /** Signatures that a gateway first saw at this time or later do not count; milliseconds since the epoch, null: never. */
  readonly expiresAtMs: number | null;
}

export interface Role {
  /** Sorted. */
  readonly principals: readonly string[];
  /** How many must approve what lets more through; 1 to the number of principals. */
  readonly threshold: number;
  /** How many must approve what lets nothing more through; 1 to the threshold. */
  readonly tighten: number;
}

/** Who may approve changes of some files, or for some hosts, instead of the role `policy`. */
export interface Rule extends Role {
  readonly name: string;
  /** Patterns of paths; null: changes are told apart by hosts alone. */
  readonly files: readonly string[] | null;
  /** Patterns of host entries beyond which no change may reach; null: it may reach everything. */
  readonly hosts: readonly string[] | null;
  /** The networks from which those hosts may take their addresses; null: they keep those that they have. */
  readonly sources: readonly Cidr[] | null;
  /** True: its files are not in the common lock but in one of their own, so that others never wait for them. */
  readonly lock: boolean;
}

/** The folder of the chain of roots: `trust/1.json`, `trust/2.json`, … */
export const ROOT_FOLDER = "trust";
export const MAX_ROOT_BYTES = 256 * 1024;
/** More entries in the folder than this are refused by the reader. */
export const MAX_ROOT_FILES = 1000;
export const MAX_PRINCIPALS = 100;
export const MAX_KEYS_PER_PRINCIPAL = 16;
export const MAX_AUTHORITIES = 16;
export const MAX_RULES = 64;
export const MAX_REVOKED = 1000;

/** Returns the path of a root in the repository. */
export function rootPath(root: number): string {
  return `${ROOT_FOLDER}/${root}.json`;
}

/** Returns the numbers of the roots among the file names of the folder `trust`, ascending; other files are ignored. */
export function rootNumbers(names: readonly string[]): readonly number[] {
  const numbers = names.flatMap((name) => {
    const [, digits] = /^([1-9][0-9]{0,8})\.json$/.exec(name) ?? [];
    return digits === undefined ? [] : [Number(digits)];
  });
  return numbers.sort((a, b) => a - b);
}

/** Returns the principals that have a part in any way of approving a lock, sorted. */
export function policyPrincipals(root: Root): readonly string[] {
  const names = [root.roles.policy, ...root.rules].flatMap((role) => role.principals);
  return [...new Set(names)].sort(compareTexts);
}

/** Returns whether any key or certificate of a principal can still count. */
export function isUsable({ keys, certifiers }: Principal, revoked: ReadonlySet<string>): boolean {
  return (
    keys.some(({ fingerprint }) => !revoked.has(fingerprint)) ||
    certifiers.some(({ authority }) => !revoked.has(authority.fingerprint))
  );
}
