import { AgentError } from "../errors.ts";
import { type KeyCandidate, listAgentKeys, listHomeKeys, readKeyFile } from "../host/ssh-keygen.ts";
import { quoteText } from "../policy/parsed.ts";
import { type Root, rootPath } from "../trust/root.ts";
import { parsePublicKey } from "../trust/ssh-key.ts";

export interface SigningKey {
  readonly principal: string;
  readonly fingerprint: string;
  readonly candidate: KeyCandidate;
}

export interface KeyChoice {
  /** A key file, `agent` for the keys of ssh-agent only, or null to look in ssh-agent and then in ~/.ssh. */
  readonly key: string | null;
  /** Whose key it must be; null for whoever it belongs to. */
  readonly principal: string | null;
}

/**
 * Returns the first key of the caller that belongs to a principal who may approve policies.
 * @throws AgentError USAGE when there is none, with what was looked at
 */
export async function findSigningKey(root: Root, { key, principal }: KeyChoice): Promise<SigningKey> {
  const { principals } = root.roles.policy;
  if (principal !== null && !principals.includes(principal)) {
    throw new AgentError("USAGE", `${quoteText(principal)} may not approve policies by ${rootPath(root.root)}`, {
      remedy: `use one of ${principals.join(", ")}`,
    });
  }
  const candidates = await listCandidates(key);
  const known = candidates.flatMap((candidate) => {
    const parsed = parsePublicKey(candidate.publicLine);
    return parsed.ok ? [{ candidate, fingerprint: parsed.value.fingerprint }] : [];
  });
  for (const { candidate, fingerprint } of known) {
    const owner = root.principals.find(({ keys }) => keys.some((one) => one.fingerprint === fingerprint))?.name;
    if (owner === undefined || !principals.includes(owner)) continue;
    if (principal === null || principal === owner) return { principal: owner, fingerprint, candidate };
  }
  const seen = known.map(({ candidate, fingerprint }) => `${fingerprint} (${candidate.origin})`);
  const whose = principal ?? principals.join(", ");
  throw new AgentError("USAGE", `no key of ${whose} was found among ${seen.join(", ") || "no keys at all"}`, {
    remedy: `name the key with --key, or load it into ssh-agent; ${rootPath(root.root)} says which keys count`,
    details: { looked: candidates.map((candidate) => candidate.origin) },
  });
}

async function listCandidates(key: string | null): Promise<readonly KeyCandidate[]> {
  if (key === "agent") return await listAgentKeys();
  if (key !== null) return [await readKeyFile(key)];
  return [...(await listAgentKeys()), ...(await listHomeKeys())];
}
