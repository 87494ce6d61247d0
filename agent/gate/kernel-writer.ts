import { type KernelChange, type KernelStep, planSteps } from "./kernel-change.ts";
import { encodeBatch } from "./netlink-message.ts";
import { openBatchSocket } from "./netlink-socket.ts";

/** Commits steps as one transaction. @throws AgentError when nothing was changed. */
export type Commit = (steps: readonly KernelStep[]) => Promise<void>;

/** Writes changes to the kernel in the order in which they came; several waiting ones share a transaction. */
export interface KernelWriter {
  /** Resolves when the changes are in force. @throws AgentError when they are not. */
  write(changes: readonly KernelChange[]): Promise<void>;
  /** Resolves when nothing is under way. */
  drain(): Promise<void>;
  close(): void;
}

interface Waiting {
  readonly changes: readonly KernelChange[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** More changes than this never share a transaction, so that one answer does not wait for ten thousand others. */
const MAX_SHARED_CHANGES = 2000;

/** Returns a writer over a way to commit. */
export function createKernelWriter(commit: Commit, close: () => void = () => {}): KernelWriter {
  let waiting: Waiting[] = [];
  let running: Promise<void> | null = null;
  const work = async (): Promise<void> => {
    while (waiting.length > 0) {
      const group = takeGroup(waiting);
      waiting = waiting.slice(group.length);
      await commitGroup(commit, group);
    }
    running = null;
  };
  return {
    write: (changes) => {
      if (changes.length === 0) return Promise.resolve();
      return new Promise<void>((resolve, reject) => {
        waiting.push({ changes, resolve, reject });
        running ??= work();
      });
    },
    drain: async () => {
      while (running !== null) await running;
    },
    close,
  };
}

function takeGroup(waiting: readonly Waiting[]): readonly Waiting[] {
  let total = 0;
  let count = 0;
  for (const member of waiting) {
    total += member.changes.length;
    if (count > 0 && total > MAX_SHARED_CHANGES) break;
    count += 1;
  }
  return waiting.slice(0, count);
}

/** Commits all members at once; when that fails, each alone, so that one bad element does not fail the others' answers. */
async function commitGroup(commit: Commit, group: readonly Waiting[]): Promise<void> {
  try {
    await commit(group.flatMap((member) => planSteps(member.changes)));
    for (const member of group) member.resolve();
    return;
  } catch (error) {
    if (group.length === 1) {
      group[0]?.reject(error);
      return;
    }
  }
  for (const member of group) {
    try {
      await commit(planSteps(member.changes));
      member.resolve();
    } catch (error) {
      member.reject(error);
    }
  }
}

/** Returns a writer over netlink. @throws AgentError HOST_MISSING */
export async function openKernelWriter(): Promise<KernelWriter> {
  const socket = await openBatchSocket();
  let sequence = 1;
  const commit: Commit = async (steps) => {
    const batch = encodeBatch(steps, sequence);
    sequence = batch.nextSequence > 0x7fff_ffff ? 1 : batch.nextSequence;
    await socket.transact(batch);
  };
  return createKernelWriter(commit, socket.close);
}
