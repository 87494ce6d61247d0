import { AgentError } from "../errors.ts";
import { type KeyCandidate, listAgentKeys, listHomeKeys, readKeyFile } from "../host/ssh-keygen.ts";
import { quoteText } from "../policy/parsed.ts";
import { readOwnKey } from "../trust/find-owner.ts";
import { type Root, rootPath } from "../trust/root.ts";

export interface SigningKey {
  readonly principal: string;
  readonly fingerprint: string;
  readonly candidate: KeyCandidate;
  /** Returns the principal whom the key counts as in a root; null for nobody. */
  readonly ownerIn: (root: Root) => string | null;
}

export interface KeyChoice {
  /** A key file, `agent` for the keys of ssh-agent only, or null to look in ssh-agent and then in ~/.ssh. */
  readonly key: string | null;
  /** Whose key it must be; null for whoever it belongs to. */
  readonly principal: string | null;
}

/** Whose signatures count for what is about to be signed, by one root. */
export interface Signers {
  readonly root: Root;
  readonly principals: readonly string[];
}

/**
 * Returns the first key of the caller that belongs to one of the signers, by the first root that knows it.
 * @throws AgentError USAGE when there is none, with what was looked at
 */
export async function findSigningKey(signers: readonly Signers[], { key, principal }: KeyChoice): Promise<SigningKey> {
  const allowed = [...new Set(signers.flatMap(({ principals }) => principals))];
  const paths = signers.map(({ root }) => rootPath(root.root)).join(" and ");
  if (principal !== null && !allowed.includes(principal)) {
    throw new AgentError("USAGE", `${quoteText(principal)} may not approve this by ${paths}`, {
      remedy: `use one of ${allowed.join(", ")}`,
    });
  }
  const candidates = await listCandidates(key);
  const known = candidates.flatMap((candidate) => {
    const own = readOwnKey(candidate.publicLine);
    return own === null ? [] : [{ candidate, own }];
  });
  for (const { candidate, own } of known) {
    for (const { root, principals } of signers) {
      const owner = own.ownerIn(root);
      if (owner === null || !principals.includes(owner) || (principal !== null && principal !== owner)) continue;
      return { principal: owner, fingerprint: own.fingerprint, candidate, ownerIn: own.ownerIn };
    }
  }
  const seen = known.map(({ candidate, own }) => `${own.fingerprint} (${candidate.origin})`);
  const whose = principal ?? allowed.join(", ");
  throw new AgentError("USAGE", `no key of ${whose} was found among ${seen.join(", ") || "no keys at all"}`, {
    remedy: `name the key with --key, or load it into ssh-agent; ${paths} says which keys count`,
    details: { looked: candidates.map((candidate) => candidate.origin) },
  });
}

async function listCandidates(key: string | null): Promise<readonly KeyCandidate[]> {
  if (key === "agent") return await listAgentKeys();
  if (key !== null) return [await readKeyFile(key)];
  return [...(await listAgentKeys()), ...(await listHomeKeys())];
}
