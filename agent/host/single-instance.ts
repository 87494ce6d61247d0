import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import { type FileLock, lockFile } from "./file-lock.ts";

/**
 * Takes the lock of the one program that works with a state folder, without waiting.
 * @throws AgentError STATE_LOCKED when another process holds it; HOST_FILE
 */
export async function lockInstance(path: string): Promise<FileLock> {
  const lock = await lockFile(path, 0);
  if (lock !== null) return lock;
  throw new AgentError("STATE_LOCKED", `another agent works with ${dirname(path)}`, {
    remedy: "stop the running agent first, or ask it by `clawgress status`",
  });
}
