import type { Agent } from "../agent.ts";
import { readEvidence, readKeptFiles } from "../host/trust-store.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { floorOf, type VerifiedPointer } from "../trust/pointers.ts";
import type { KnownLock } from "../trust/require-for-locks.ts";
import { dependsOnMeaning } from "../trust/requirements.ts";
import type { Root } from "../trust/root.ts";

/** Returns what was verified last, each lock by its rule; null when some of it is not kept any more, or nobody asks. */
export async function readVerifiedLocks(
  agent: Agent,
  root: Root,
  verified: VerifiedPointer,
): Promise<ReadonlyMap<string | null, KnownLock> | null> {
  if (!dependsOnMeaning(root)) return null;
  const kept = new Map<string | null, KnownLock>();
  const parts = root.rules.filter(({ lock, name }) => lock && Object.hasOwn(verified.parts, name));
  for (const part of [null, ...parts.map(({ name }) => name)]) {
    const { lockDigest } = floorOf(verified, part, root.serials);
    const evidence = lockDigest === null ? null : await readEvidence(agent.paths.trust, lockDigest);
    const parsed = evidence === null ? null : parseLock(evidence.lockBytes);
    if (parsed?.ok !== true) return null;
    const contents = await readKeptFiles(agent.paths.trust, parsed.lock.files);
    if (contents === null) return null;
    kept.set(part, { lock: parsed.lock, contents });
  }
  return kept;
}
