import type { Agent } from "../agent.ts";
import { type LifelineNote, readLifeline } from "../apply/lifeline-note.ts";
import { replaceFile } from "../host/files.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { TrustVerdict } from "../steps/guard-trust.ts";
import type { ConfirmedPointer, VerifiedPointer } from "../trust/pointers.ts";

/** `status.json` in the run folder: what the agent knew after its last cycle. */
export interface AgentStatus {
  readonly version: 1;
  readonly gateway: string;
  readonly pid: number;
  readonly insecure: boolean;
  readonly verified: VerifiedPointer;
  readonly confirmed: ConfirmedPointer;
  /** Why only the lifeline is open; null while the confirmed release is in force. */
  readonly lifeline: LifelineNote | null;
  /** What stands against trusting what is enforced; null before the first look. */
  readonly trust: TrustVerdict | null;
  readonly last: {
    readonly outcome: string;
    readonly commit: string | null;
    /** ISO 8601, UTC. */
    readonly at: string;
    readonly code: string | null;
    readonly message: string | null;
    readonly remedy: string | null;
  } | null;
}

/** Writes what the agent knows for `clawgress status`. @throws AgentError HOST_FILE */
export async function writeStatusFile(agent: Agent): Promise<void> {
  const { verified, confirmed } = await readPointers(agent.paths.pointers);
  const { last } = agent.memory;
  const error = last !== null && "error" in last.outcome ? last.outcome.error : null;
  const status: AgentStatus = {
    version: 1,
    gateway: agent.settings.gateway,
    pid: process.pid,
    insecure: agent.settings.trust.insecure,
    verified,
    confirmed,
    lifeline: await readLifeline(agent.paths.lifeline),
    trust: agent.memory.trust,
    last:
      last === null
        ? null
        : {
            outcome: last.outcome.kind,
            commit: last.outcome.commit,
            at: new Date(last.atMs).toISOString(),
            code: error?.code ?? null,
            message: error?.message ?? null,
            remedy: error?.remedy ?? null,
          },
  };
  await replaceFile(agent.paths.status, `${JSON.stringify(status, null, 2)}\n`);
}
