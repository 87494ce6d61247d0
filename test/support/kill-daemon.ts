import { findDaemon } from "../../agent/host/daemon.ts";

/**
 * Kills the process of a pid file, found by its start as well as by its number, which may be somebody else's by now. One
 * that has ended, or never ran, is fine.
 */
export async function killDaemon(pidFile: string): Promise<void> {
  const pid = await findDaemon(pidFile);
  if (pid === null) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has just ended.
  }
}
