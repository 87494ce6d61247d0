import { mkdtemp, readdir, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../host/run.ts";

const PREFIX = "clawgress-check-";
const NAMESPACES = "/run/netns";
const TIMEOUT_MS = 10_000;

/**
 * Makes the folder whose name is also that of a scratch network namespace: random, for two agents in network namespaces of
 * one machine share the list of names, and with the pid, so that what a killed agent left behind is known as such.
 */
export async function makeScratch(): Promise<string> {
  return await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
}

/** Removes scratch namespaces and folders of agents that run no more; each namespace still holds a whole ruleset. */
export async function clearScratch(): Promise<void> {
  for (const name of await namesOfTheDead(NAMESPACES)) {
    await run(["ip", "netns", "del", name], { timeoutMs: TIMEOUT_MS });
  }
  for (const name of await namesOfTheDead(tmpdir())) {
    // Anybody may make such a name there, so nothing below it is touched: ours are empty.
    await rmdir(join(tmpdir(), name)).catch(() => {});
  }
}

async function namesOfTheDead(folder: string): Promise<readonly string[]> {
  const alive = new Set(await readdir("/proc"));
  // Before the first namespace of a machine there is no such folder.
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => {
    const pid = new RegExp(`^${PREFIX}([0-9]+)-[A-Za-z0-9]{6}$`).exec(name)?.[1];
    return pid !== undefined && !alive.has(pid);
  });
}
