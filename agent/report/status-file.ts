import type { Agent } from "../agent.ts";
import { type LifelineNote, readLifeline } from "../apply/lifeline-note.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { TrustVerdict } from "../steps/guard-trust.ts";
import type { ConfirmedPointer, VerifiedPointer } from "../trust/pointers.ts";
import { type Activity, describeCounts, describeCycle, type LastCycle } from "./agent-memory.ts";
import type { AgentCounts, GatewayStatus } from "./gateway-status.ts";

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
  readonly last: LastCycle | null;
  /** The last cycle that did not find everything as it was. */
  readonly news: LastCycle | null;
  /** The head that the server told last. */
  readonly head: string | null;
  /** ISO 8601, UTC. */
  readonly polledAt: string | null;
  readonly changedAt: string | null;
  readonly drift: GatewayStatus["drift"];
  readonly counts: AgentCounts;
}

const MAX_STATUS_BYTES = 64 * 1024;

/** Writes what the agent knows for `clawgress status`. @throws AgentError HOST_FILE */
export async function writeStatusFile(agent: Agent): Promise<void> {
  const { verified, confirmed } = await readPointers(agent.paths.pointers);
  const { last, activity } = agent.memory;
  const status: AgentStatus = {
    version: 1,
    gateway: agent.settings.gateway,
    pid: process.pid,
    insecure: agent.settings.trust.insecure,
    verified,
    confirmed,
    lifeline: await readLifeline(agent.paths.lifeline),
    trust: agent.memory.trust,
    last: last === null ? null : describeCycle(last.outcome, last.atMs),
    news: activity.news,
    head: activity.head,
    polledAt: timeText(activity.polledAtMs),
    changedAt: timeText(activity.changedAtMs),
    drift: describeDrift(activity),
    counts: describeCounts(activity),
  };
  await replaceFile(agent.paths.status, `${JSON.stringify(status, null, 2)}\n`);
}

/** Writes it, or says in the log why not: what is enforced does not depend on it. */
export async function tryWriteStatus(agent: Agent): Promise<void> {
  await writeStatusFile(agent).catch((error: Error) =>
    agent.log.warn({ event: "status-unwritten", reason: error.message }),
  );
}

/** Returns what an agent wrote; null when there is nothing, or nothing that can be read. @throws AgentError HOST_FILE */
export async function readStatusFile(path: string): Promise<AgentStatus | null> {
  const bytes = await readFileIfAny(path, MAX_STATUS_BYTES);
  if (bytes === null) return null;
  try {
    return JSON.parse(bytes.toString("utf8")) as AgentStatus;
  } catch {
    // The next cycle writes it anew.
    return null;
  }
}

/** Takes over what the agent before this one has seen. */
export async function recallActivity(path: string, activity: Activity): Promise<void> {
  const before = await readStatusFile(path);
  if (before === null) return;
  activity.head = before.head ?? null;
  activity.polledAtMs = parseTime(before.polledAt);
  activity.changedAtMs = parseTime(before.changedAt);
  activity.news = before.news ?? null;
}

function timeText(atMs: number | null): string | null {
  return atMs === null ? null : new Date(atMs).toISOString();
}

function parseTime(text: string | null | undefined): number | null {
  const atMs = Date.parse(text ?? "");
  return Number.isNaN(atMs) ? null : atMs;
}

function describeDrift({ drift: { restored, lastAtMs, held } }: Activity): GatewayStatus["drift"] {
  return { restored, lastAt: timeText(lastAtMs), held };
}
