import { monotonicMs, sleepMs } from "./clock.ts";
import { type FileLock, findLockHolder, lockFile } from "./file-lock.ts";
import { listProcesses, type ProcessRow, readProcess } from "./process-table.ts";
import { createTurn, type Turn } from "./turn.ts";

/** How long a holder may keep others waiting before it is ended, in milliseconds. */
export interface Patience {
  /** One that is stopped by a signal: it would hold on for ever. */
  readonly stoppedMs: number;
  /** One that runs. Longer than any single step of an apply: between steps a holder looks whether it has lost. */
  readonly runningMs: number;
}

const PATIENCE: Patience = { stoppedMs: 1_000, runningMs: 75_000 };
const POLL_MS = 10;
const LOOK_MS = 250;
const END_WAIT_MS = 1_000;

/**
 * Returns turns that are taken by one process of the machine at a time: what changes rules, named or the gate is done in
 * such a turn, by the agent and by its revert timer. It is never taken within itself.
 *
 * Nobody can keep it for ever. A dead holder has let go already: the lock is the kernel's. One that is stopped, or that
 * hangs, is ended with SIGKILL together with the programs it waits for, found by the lock and not by a note: whoever takes
 * the turn then knows that nobody goes on behind its back.
 */
export function createMachineTurn(path: string, patience: Patience = PATIENCE): Turn {
  const ownTurn = createTurn();
  return (work) =>
    ownTurn(async () => {
      const lock = await takeOrEnd(path, patience);
      try {
        return await work();
      } finally {
        await lock.release();
      }
    });
}

async function takeOrEnd(path: string, patience: Patience): Promise<FileLock> {
  let sinceMs = monotonicMs();
  for (;;) {
    const lock = await lockFile(path, LOOK_MS);
    if (lock !== null) return lock;
    const holder = monotonicMs() - sinceMs < patience.stoppedMs ? null : await findLockHolder(path);
    if (holder === null) continue;
    const isStopped = holder.state === "T" || holder.state === "t";
    if (monotonicMs() - sinceMs < (isStopped ? patience.stoppedMs : patience.runningMs)) continue;
    await endWithPrograms(holder);
    sinceMs = monotonicMs();
  }
}

/**
 * Ends a process and the programs that it started and waits for. Those that it started to outlive it (named, the gate)
 * are in sessions of their own and stay. It is stopped first, so that it starts none meanwhile.
 */
async function endWithPrograms(holder: ProcessRow): Promise<void> {
  signal(holder.pid, "SIGSTOP");
  await sleepMs(POLL_MS);
  const programs = (await listProcesses()).filter(
    ({ parent, session }) => parent === holder.pid && session === holder.session,
  );
  const ended = [holder, ...programs];
  for (const { pid } of ended) signal(pid, "SIGKILL");
  const endMs = monotonicMs() + END_WAIT_MS;
  while (monotonicMs() < endMs) {
    const rows = await Promise.all(ended.map(({ pid }) => readProcess(pid)));
    if (rows.every((row, index) => row?.startTicks !== ended[index]?.startTicks)) return;
    await sleepMs(POLL_MS);
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
