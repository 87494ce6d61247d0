import { mkdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readFileIfAny, replaceFile, syncFolder } from "../host/files.ts";

/**
 * The record of a change in flight. Its file name is its state, and every move is one rename(2), so that of two who want
 * to end the same transaction exactly one wins: `armed` → `confirmed` or `armed` → `reverting`.
 */
export interface Transaction {
  /** Digest of the release that is being tried. */
  readonly next: string;
  /** Digest of the release to go back to. */
  readonly previous: string;
  readonly commit: string;
  readonly serial: number;
}

const MAX_FILE_BYTES = 64 * 1024;

/** Step 3, arm: records durably that a change is in flight, before anything is changed. */
export async function armTransaction(armedPath: string, transaction: Transaction): Promise<void> {
  await replaceFile(armedPath, `${JSON.stringify(transaction)}\n`);
}

/** Returns the transaction that a crash left behind, armed or half reverted; null when there is none. */
export async function readUnfinished(armedPath: string): Promise<Transaction | null> {
  const folder = dirname(armedPath);
  for (const path of [armedPath, join(folder, "reverting")]) {
    const bytes = await readFileIfAny(path, MAX_FILE_BYTES);
    if (bytes === null) continue;
    try {
      return JSON.parse(bytes.toString("utf8")) as Transaction;
    } catch {
      // What it says is for the log; that it is there means that a change did not end.
      return { next: "unreadable", previous: "unreadable", commit: "unreadable", serial: 0 };
    }
  }
  return null;
}

/** Ends an armed transaction one way; returns false when somebody else has ended it already: then change nothing more. */
export async function winTransaction(armedPath: string, end: "confirmed" | "reverting"): Promise<boolean> {
  const folder = dirname(armedPath);
  await mkdir(folder, { recursive: true });
  try {
    await rename(armedPath, join(folder, end));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  await syncFolder(folder);
  return true;
}

/** Records that a revert is complete. */
export async function closeRevert(armedPath: string): Promise<void> {
  const folder = dirname(armedPath);
  try {
    await rename(join(folder, "reverting"), join(folder, "reverted"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  await syncFolder(folder);
}
