import { compareTexts } from "../policy/compare-texts.ts";
import { quoteText } from "../policy/parsed.ts";
import { formatTime } from "./fields.ts";
import { digestOf } from "./lock.ts";
import { type Principal, policyPrincipals, type Role, type Root } from "./root.ts";
import { type SigningSshKey, verifySshsig } from "./sshsig.ts";

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
  const names = policyPrincipals(root);
  return new Map(names.map((name) => [name, approvalPath(lockDigest, name)]));
}

/** By what a signature's key is judged besides the root: what a gateway knows by itself, and no signer can choose. */
export interface Judge {
  /** Fingerprints that count nowhere, besides those that the root revokes. */
  readonly revoked: ReadonlySet<string>;
  /** Returns when this machine first saw a principal's signature, in milliseconds since the epoch. */
  readonly seenAtMs: (principal: string) => number;
}

export interface CountInput extends Judge {
  readonly root: Root;
  readonly role: Pick<Role, "principals" | "threshold">;
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
  const { root, role, signatures, fileOf } = input;
  const counted: string[] = [];
  const rejected: RejectedApproval[] = [];
  for (const name of [...signatures.keys()].sort(compareTexts)) {
    const armored = signatures.get(name);
    if (armored === undefined) continue;
    const principal = role.principals.includes(name) ? root.principals.find((known) => known.name === name) : undefined;
    const why =
      principal === undefined
        ? `${quoteText(name)} has no part in this role`
        : refuseSignature(input, principal, armored);
    if (why === null) counted.push(name);
    else rejected.push({ file: fileOf(name), why });
  }
  return { counted, rejected, missing: Math.max(0, role.threshold - counted.length) };
}

/** Returns why a principal's signature does not count, or null when it does. */
function refuseSignature(input: CountInput, principal: Principal, armored: Buffer): string | null {
  const { root, message, namespace, revoked, seenAtMs } = input;
  const { keys, certifiers, name } = principal;
  const result = verifySshsig({ armored, message, namespace, keys, certifiers });
  if (!result.ok) return nameOwner(result.why, name, ownersOf(root));
  const dead = fingerprintsOf(result.value).find((one) => root.revoked.has(one) || revoked.has(one));
  if (dead !== undefined) return `${dead} is revoked`;
  const expiresAtMs = keys.find((key) => key.fingerprint === result.value.fingerprint)?.expiresAtMs ?? null;
  return refuseTime(result.value, expiresAtMs, seenAtMs(name));
}

/** The time is that of the first sight: a time in the signature or commit would be the signer's to choose. */
function refuseTime(
  { certificate, fingerprint }: SigningSshKey,
  expiresAtMs: number | null,
  seenAtMs: number,
): string | null {
  const seen = `this signature was first seen at ${formatTime(seenAtMs)}`;
  if (certificate === null) {
    if (expiresAtMs === null || seenAtMs < expiresAtMs) return null;
    return `the key ${fingerprint} counts until ${formatTime(expiresAtMs)}; ${seen}`;
  }
  if (seenAtMs < certificate.validFromMs) return `its certificate is not valid yet; ${seen}`;
  return seenAtMs < certificate.validUntilMs ? null : `its certificate is not valid any more; ${seen}`;
}

function fingerprintsOf({ fingerprint, certificate }: SigningSshKey): readonly string[] {
  if (certificate === null) return [fingerprint];
  return [fingerprint, certificate.fingerprint, certificate.authority.fingerprint];
}

function ownersOf(root: Root): ReadonlyMap<string, string> {
  return new Map(root.principals.flatMap(({ name, keys }) => keys.map((key) => [key.fingerprint, name])));
}

/** Returns whose approvals of a lock hold, by its exact bytes; who has to approve it is another question. */
export function countPolicyApprovals(
  root: Root,
  lockBytes: Buffer,
  signatures: ReadonlyMap<string, Buffer>,
  judge: Judge,
): Count {
  const lockDigest = digestOf(lockBytes);
  return countApprovals({
    ...{ root, signatures, ...judge },
    role: { principals: policyPrincipals(root), threshold: 1 },
    message: lockBytes,
    namespace: POLICY_NAMESPACE,
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
