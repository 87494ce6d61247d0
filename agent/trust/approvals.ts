import { compareTexts } from "../policy/compare-texts.ts";
import { quoteText } from "../policy/parsed.ts";
import { digestOf } from "./lock.ts";
import { keysOfRole, type Role, type Root } from "./root.ts";
import type { SshPublicKey } from "./ssh-key.ts";
import { verifySshsig } from "./sshsig.ts";

export const APPROVALS_FOLDER = "approvals";
/** What approvals of a lock are signed for: `ssh-keygen -Y sign -n clawgress-policy@v1`. */
export const POLICY_NAMESPACE = "clawgress-policy@v1";

/** A signature file that does not count, and why not. */
export interface RejectedApproval {
  readonly file: string;
  readonly why: string;
}

/** How far a role's approval of some bytes has come. */
export interface Count {
  /** Principals of the role whose approval holds, sorted; each once. */
  readonly counted: readonly string[];
  readonly rejected: readonly RejectedApproval[];
  /** How many more are needed; 0 when the threshold is reached. */
  readonly missing: number;
}

/** Returns the folder of the approvals of a lock, named after its digest so that those of another lock are elsewhere. */
export function approvalFolder(lockDigest: string): string {
  return `${APPROVALS_FOLDER}/${lockDigest.slice(0, 16)}`;
}

/** Returns the file of a principal's approval of a lock. */
export function approvalPath(lockDigest: string, principal: string): string {
  return `${approvalFolder(lockDigest)}/${principal}.sig`;
}

/**
 * Returns principal → path of every file that can be an approval of the lock. Nothing else needs to be read, so
 * whatever else lies in the folder costs nothing.
 */
export function approvalPaths(root: Root, lockDigest: string): ReadonlyMap<string, string> {
  const names = root.roles.policy.principals;
  return new Map(names.map((name) => [name, approvalPath(lockDigest, name)]));
}

export interface CountInput {
  readonly root: Root;
  readonly role: Role;
  /** What was signed. */
  readonly message: Buffer;
  readonly namespace: string;
  /** principal → signature file. */
  readonly signatures: ReadonlyMap<string, Buffer>;
  /** Returns the file of a principal's signature, for messages. */
  readonly fileOf: (principal: string) => string;
}

/**
 * Returns whose signatures of the message hold for a role. People are counted, not keys and not files: a principal's
 * file counts only when one of that principal's own keys made it, and each key belongs to one principal.
 */
export function countApprovals(input: CountInput): Count {
  const { root, role, message, namespace, signatures, fileOf } = input;
  const keys = keysOfRole(root, role);
  const owners = new Map(root.principals.flatMap(({ name, keys: own }) => own.map((key) => [key.fingerprint, name])));
  const counted: string[] = [];
  const rejected: RejectedApproval[] = [];
  for (const name of [...signatures.keys()].sort(compareTexts)) {
    const own: readonly SshPublicKey[] | undefined = keys.get(name);
    const armored = signatures.get(name);
    if (armored === undefined) continue;
    if (own === undefined) {
      rejected.push({ file: fileOf(name), why: `${quoteText(name)} has no part in this role` });
      continue;
    }
    const result = verifySshsig({ armored, message, namespace, keys: own });
    if (result.ok) counted.push(name);
    else rejected.push({ file: fileOf(name), why: nameOwner(result.why, name, owners) });
  }
  return { counted, rejected, missing: Math.max(0, role.threshold - counted.length) };
}

/** Returns how far the approval of a lock has come, by its exact bytes. */
export function countPolicyApprovals(root: Root, lockBytes: Buffer, signatures: ReadonlyMap<string, Buffer>): Count {
  const lockDigest = digestOf(lockBytes);
  return countApprovals({
    root,
    role: root.roles.policy,
    message: lockBytes,
    namespace: POLICY_NAMESPACE,
    signatures,
    fileOf: (principal) => approvalPath(lockDigest, principal),
  });
}

/** Adds whose key it was, when the signature is another principal's. */
function nameOwner(why: string, name: string, owners: ReadonlyMap<string, string>): string {
  const [fingerprint = ""] = /SHA256:[A-Za-z0-9+/]{43}/.exec(why) ?? [];
  const owner = owners.get(fingerprint);
  if (owner !== undefined && owner !== name) return `${why}, a key of ${owner}`;
  return fingerprint === "" ? why : `${why}, which the root does not give to ${name}`;
}
