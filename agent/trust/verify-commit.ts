import { compareTexts } from "../policy/compare-texts.ts";
import { quoteText } from "../policy/parsed.ts";
import { countApprovals } from "./approvals.ts";
import type { CommitObject, CommitSignature } from "./commit-object.ts";
import type { Root } from "./root.ts";
import type { Attempt } from "./ssh-wire.ts";
import type { TrustRefusal } from "./verify-approval.ts";

/** What Git signs for: `gpg.format = ssh`. */
const COMMIT_NAMESPACE = "git";

/**
 * Checks one OpenPGP signature against one certificate, which must not have expired when the commit was first seen, and
 * returns the fingerprint of the key that made it.
 */
export type OpenPgpCheck = (question: {
  readonly armored: Buffer;
  readonly payload: Buffer;
  readonly certificate: Buffer;
  readonly seenAtMs: number;
}) => Promise<Attempt<string> | { readonly ok: false; readonly why: string; readonly isOtherKey: true }>;

export interface CommitInput {
  readonly root: Root;
  /** Fingerprints that this gateway was told not to count, beside those that the root revokes. */
  readonly revoked: ReadonlySet<string>;
  /** When this gateway first saw the commit; milliseconds since the epoch. */
  readonly seenAtMs: number;
  /** From bytes whose hash was checked. */
  readonly commit: CommitObject;
  /** Null when no principal has an OpenPGP key. */
  readonly checkOpenPgp: OpenPgpCheck | null;
}

export interface SignedCommit {
  readonly ok: true;
  readonly principal: string;
}

/** People whose forge makes commits for them sign nothing: what these accounts sign says that somebody could press a button. */
const forgeAccounts: readonly RegExp[] = [
  /<noreply@github\.com>/,
  /<noreply@(?:[a-z0-9-]+\.)*gitlab\.com>/,
  /^(?:Gitea|Forgejo|GitLab|Bitbucket)[^<]*</i,
];

/**
 * Returns which principal of the role `policy` signed a commit, judged by the commit's raw bytes and the root of trust
 * alone: not by what a forge says of it, not by the dates in it, not by the names in it.
 */
export async function verifyCommit(input: CommitInput): Promise<SignedCommit | TrustRefusal> {
  const { root, commit } = input;
  if (commit.signature === null) return unsigned(root, commit, "it has no signature");
  const signer = await findSigner(input, commit.signature);
  return signer.ok ? { ok: true, principal: signer.value } : unsigned(root, commit, signer.why);
}

async function findSigner(input: CommitInput, signature: CommitSignature): Promise<Attempt<string>> {
  switch (signature.format) {
    case "ssh":
      return findSshSigner(input, signature);
    case "openpgp":
      return await findOpenPgpSigner(input, signature);
    case "x509":
      return { ok: false, why: "its signature is an X.509 one, which is not supported; sign with an SSH key" };
    case "unknown":
      return { ok: false, why: "its signature is of no known kind; sign with an SSH key" };
  }
}

/** By the rules of approvals: one of the principal's own keys or certificates, not revoked, not expired when first seen. */
function findSshSigner(
  { root, revoked, seenAtMs }: CommitInput,
  { armored, payload }: CommitSignature,
): Attempt<string> {
  const role = root.roles.policy;
  const { counted, rejected } = countApprovals({
    ...{ root, role, message: payload, namespace: COMMIT_NAMESPACE, revoked, seenAtMs: () => seenAtMs },
    signatures: new Map(role.principals.map((name) => [name, armored])),
    fileOf: (name) => name,
  });
  const [signer] = counted;
  if (signer !== undefined) return { ok: true, value: signer };
  // Of all who could have made it, the reason of the one who did says more than that the others did not.
  const telling = rejected.find(({ why }) => !/another key|not one that counts/.test(why)) ?? rejected[0];
  return { ok: false, why: `its signature does not count: ${telling?.why ?? "nobody has this role"}` };
}

async function findOpenPgpSigner(input: CommitInput, { armored, payload }: CommitSignature): Promise<Attempt<string>> {
  const { root, revoked, seenAtMs, checkOpenPgp } = input;
  const inRole = root.principals.filter(({ name }) => root.roles.policy.principals.includes(name));
  const certificates = inRole.flatMap(({ name, openpgp }) => openpgp.map((key) => ({ name, ...key })));
  if (checkOpenPgp === null || certificates.length === 0) {
    return { ok: false, why: "it is signed with OpenPGP, and the root of trust has no OpenPGP key of anybody" };
  }
  let why = "its signature was made with another key";
  for (const { name, fingerprint, certificate } of certificates) {
    if (root.revoked.has(fingerprint) || revoked.has(fingerprint)) continue;
    const result = await checkOpenPgp({ armored, payload, certificate, seenAtMs });
    if (result.ok) return { ok: true, value: name };
    if (!("isOtherKey" in result))
      why = `its signature by the key ${fingerprint} of ${name} does not count: ${result.why}`;
  }
  return { ok: false, why };
}

function unsigned(root: Root, commit: CommitObject, why: string): TrustRefusal {
  const names = [...root.roles.policy.principals].sort(compareTexts).join(", ");
  const isForge = forgeAccounts.some((account) => account.test(commit.committer));
  const remedy = isForge
    ? `${quoteText(commit.committer.replace(/ -?\d+ [+-]\d+$/, ""))} made this commit in a web page; let one of ${names} merge on their own machine and push, or use trust.mode "manifest", which outlives such merges`
    : `let one of ${names} commit with \`git commit -S\` and push`;
  return {
    ...{ ok: false, code: "TRUST_COMMIT_UNSIGNED", message: `the commit is not signed by anybody who may: ${why}` },
    ...{ remedy, counted: [], rejected: [], missing: 1 },
  };
}
