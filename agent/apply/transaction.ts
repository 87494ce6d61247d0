import { rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { bootTimeMs } from "../host/clock.ts";
import { makeFolder, readFileIfAny, replaceFile, syncFolder } from "../host/files.ts";

/**
 * The record of a change in flight. Its file name is its state, and every move is one rename(2), so that of two who want
 * to end the same transaction exactly one wins: `armed` → `confirmed` or `armed` → `reverting`.
 */
export interface Transaction {
  /** Random, 128 bits in hex: no two transactions are taken for each other. */
  readonly id: string;
  /** Digest of the release that is being tried, and what its table in the kernel reads back as. */
  readonly next: string;
  readonly nextTable: string;
  /** Digest of the release to go back to, and what its table in the kernel reads back as. */
  readonly previous: string;
  readonly previousTable: string;
  readonly commit: string;
  readonly serial: number;
  /** When the revert timer puts the old release back, in milliseconds since boot: @see bootTimeMs. */
  readonly deadlineMs: number;
}

/**
 * `armed`: changes are being made. `confirmed`: won, the pointer may not have moved yet. `reverting`: won, the old release
 * may not be back yet. `reverted`: over; kept for people.
 */
export type TransactionState = "armed" | "confirmed" | "reverting" | "reverted";

const MAX_FILE_BYTES = 64 * 1024;
const names = { id: "", next: "", nextTable: "", previous: "", previousTable: "", commit: "" } as const;
const nothing: Transaction = { ...names, serial: 0, deadlineMs: 0 };

/** Step 3, arm: records durably that a change is in flight, before anything is changed. */
export async function armTransaction(folder: string, transaction: Transaction): Promise<void> {
  await replaceFile(join(folder, "armed"), `${JSON.stringify(transaction)}\n`);
}

/** Returns the transaction that is in a state, or null. A damaged record counts as one that names nothing. */
export async function readTransaction(folder: string, state: TransactionState): Promise<Transaction | null> {
  const bytes = await readFileIfAny(join(folder, state), MAX_FILE_BYTES);
  if (bytes === null) return null;
  try {
    const value = JSON.parse(bytes.toString("utf8")) as Partial<Transaction>;
    return { ...nothing, ...value };
  } catch {
    return nothing;
  }
}

/**
 * Returns when a transaction is still armed. Asked under the apply lock before each change of rules, named and gate: a
 * process that was paused finds here that it has lost.
 * @throws AgentError APPLY_NOT_CONFIRMED
 */
export async function requireArmed(folder: string, id: string): Promise<void> {
  if ((await readTransaction(folder, "armed"))?.id !== id) throw notConfirmed();
}

/** Returns the error of whoever finds that a transaction was ended by its revert timer. */
export function notConfirmed(): AgentError {
  return new AgentError("APPLY_NOT_CONFIRMED", "the change was not confirmed in time; the revert timer ended it", {
    remedy: "see the agent's log for the step that took long; health.confirmTimeoutMs is the limit",
  });
}

/** Ends an armed transaction one way; returns false when somebody else has ended it already: then change nothing more. */
export async function winTransaction(folder: string, end: "confirmed" | "reverting"): Promise<boolean> {
  return await move(folder, "armed", end);
}

/**
 * Step 7, confirm: wins an armed transaction for confirming, if its deadline has not come. Returns false when it has, or when its
 * revert timer was first.
 */
export async function confirmInTime(folder: string, { deadlineMs }: Pick<Transaction, "deadlineMs">): Promise<boolean> {
  return bootTimeMs() < deadlineMs && (await winTransaction(folder, "confirmed"));
}

/** Records that a revert is complete. */
export async function closeRevert(folder: string): Promise<void> {
  await move(folder, "reverting", "reverted");
}

/** Records that the pointer of a confirmed transaction has moved. */
export async function closeConfirmed(folder: string): Promise<void> {
  try {
    await unlink(join(folder, "confirmed"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  await syncFolder(folder);
}

async function move(folder: string, from: TransactionState, to: TransactionState): Promise<boolean> {
  await makeFolder(folder);
  try {
    await rename(join(folder, from), join(folder, to));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  await syncFolder(folder);
  return true;
}
