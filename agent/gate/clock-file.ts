import { AgentError } from "../errors.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";

const MAX_BYTES = 4096;

/**
 * Returns the latest time that a gate of this machine has seen, in seconds since the epoch; null: none has. A file that
 * says nothing gives Infinity: then every clock is behind, and hours stay closed until a person looks at it.
 * @throws AgentError HOST_FILE
 */
export async function readLatestTime(path: string): Promise<number | null> {
  const bytes = await readFileIfAny(path, MAX_BYTES);
  if (bytes === null) return null;
  const text = bytes.toString("utf8").trim();
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
}

/** Keeps the latest time over a reboot. A damaged file is left for a person to look at. @throws AgentError HOST_FILE */
export async function writeLatestTime(path: string, latestS: number): Promise<void> {
  if (!Number.isFinite(latestS)) return;
  try {
    await replaceFile(path, `${Math.floor(latestS)}\n`, 0o644);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}
