import type { Agent } from "../agent.ts";
import { type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError, type Code } from "../errors.ts";
import { readPointers, writeVerified } from "../host/pointer-store.ts";
import { noteFirstSeen, readRememberedRoot, rememberRoot } from "../host/trust-store.ts";
import { walkRoots } from "../source/read-roots.ts";
import { takeBackSerials, type VerifiedPointer } from "../trust/pointers.ts";
import type { Root } from "../trust/root.ts";
import { openRoot, type RootInForce } from "../trust/root-chain.ts";

/**
 * Walks the chain of roots in the commit from the one in force to the newest, each approved by the one before it and by
 * itself, and remembers it, durably, before anything is judged by it: who was removed stays removed, whatever else is
 * wrong with the commit.
 */
export async function followRoots(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const reader = need(cycle.reader, "commit");
  const { verified } = await readPointers(agent.paths.pointers);
  const seenAtMs = await noteFirstSeen(agent.paths.trust, reader.commit, agent.judgedMs());
  const revoked = await agent.readRevoked();
  const start = await findRootInForce(agent, verified);
  const judge = { revoked, seenAtMs: () => seenAtMs };
  const root = await walkRoots(reader, start, judge, (next) => remember(agent, reader.commit, next));
  if (root.root.root < verified.root) {
    const message = `the commit carries roots up to ${root.root.root}, this gateway has followed root ${verified.root}`;
    throw refuse("TRUST_ROLLBACK", message, "keep every root since the first in trust/, for gateways that were off");
  }
  return { root, seenAtMs, revoked };
}

/**
 * Returns the root by which the next commit is judged: the one followed last, or the installed one when that is newer,
 * as whoever installs it decides, or when the other is lost and has to be walked to again.
 * @throws AgentError TRUST_ROOT_INVALID when the installed one is another root of the same number
 */
export async function findRootInForce(agent: Agent, verified: VerifiedPointer): Promise<RootInForce> {
  const { installed } = agent;
  if (installed.root.root > verified.root || verified.rootDigest === null) return installed;
  if (installed.root.root === verified.root && installed.digest !== verified.rootDigest) {
    const message = `trust.root is another root ${verified.root} than the one that this gateway has followed`;
    const remedy = `find out who made two of them; to go on, install a root with a number above ${verified.root}`;
    throw refuse("TRUST_ROOT_INVALID", message, remedy);
  }
  const bytes = await readRememberedRoot(agent.paths.trust);
  const remembered = bytes === null ? null : openRoot(bytes, "root.json");
  if (remembered !== null && "root" in remembered && remembered.digest === verified.rootDigest) return remembered;
  return installed;
}

async function remember(agent: Agent, commit: string, { root, digest, bytes }: RootInForce): Promise<void> {
  const { verified } = await readPointers(agent.paths.pointers);
  if (root.root === verified.root && digest !== verified.rootDigest) {
    const message = `the commit leads to another root ${root.root} than the one that this gateway has followed`;
    throw refuse("TRUST_EQUIVOCATION", message, "find out who signed two roots with one number");
  }
  if (root.root <= verified.root) return;
  await rememberRoot(agent.paths.trust, bytes);
  const moved = { ...takeBackSerials(verified, root.serials), root: root.root, rootDigest: digest };
  await writeVerified(agent.paths.pointers, moved, root.serials);
  agent.log.warn({ event: "root-followed", commit, root: root.root, ...describeRoot(root) });
  if (moved.serial !== verified.serial) {
    agent.log.warn({ event: "serials-taken-back", from: verified.serial, to: moved.serial, root: root.root });
  }
}

function describeRoot({ roles, revoked }: Root): { readonly policy: string; readonly revoked: number } {
  const { principals, threshold } = roles.policy;
  return { policy: `${threshold} of ${principals.join(", ")}`, revoked: revoked.size };
}

function refuse(code: Code, message: string, remedy: string): AgentError {
  return new AgentError(code, message, { remedy });
}
