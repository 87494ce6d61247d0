import type { OpenPgpKey } from "./openpgp-key.ts";
import type { SshPublicKey } from "./ssh-key.ts";

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
}

/** A person or machine that is counted once, however many keys it has. */
export interface Principal {
  readonly name: string;
  readonly keys: readonly SshPublicKey[];
  /** Certificates that count for signatures of commits, and for nothing else. */
  readonly openpgp: readonly OpenPgpKey[];
}

export interface Role {
  /** Sorted. */
  readonly principals: readonly string[];
  /** 1 to the number of principals. */
  readonly threshold: number;
}

/** The folder of the chain of roots: `trust/1.json`, `trust/2.json`, … */
export const ROOT_FOLDER = "trust";
export const MAX_ROOT_BYTES = 256 * 1024;
/** More entries in the folder than this are refused by the reader. */
export const MAX_ROOT_FILES = 1000;
export const MAX_PRINCIPALS = 100;
export const MAX_KEYS_PER_PRINCIPAL = 16;

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

/** Returns the names that have a role and the keys of each, for counting approvals. */
export function keysOfRole(root: Root, role: Role): ReadonlyMap<string, readonly SshPublicKey[]> {
  const inRole = root.principals.filter((principal) => role.principals.includes(principal.name));
  return new Map(inRole.map((principal) => [principal.name, principal.keys]));
}
