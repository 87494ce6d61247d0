import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { programPath } from "./processes.ts";

type Watcher = ChildProcessByStdio<Writable, Readable, null>;

/**
 * Starts the process that makes a lab's folder and ends the lab when this process asks, or dies: its standard input
 * closes then, whatever the cause. `stop` resolves when everything is gone. @throws Error when it does not start, and
 * from `stop` when something is left.
 */
export async function startWatcher(id: string, folder: string): Promise<{ readonly stop: () => Promise<void> }> {
  const watcher = spawnWatcher([id, folder]);
  const ended = new Promise<number | null>((resolve) => watcher.once("exit", resolve));
  await new Promise<void>((resolve, reject) => {
    watcher.stdout.once("data", () => resolve());
    void ended.then((code) => reject(new Error(`the lab's watcher did not start: it ended with ${code}`)));
  });
  // The owner may end by itself without waiting for its watcher.
  watcher.unref();
  for (const stream of [watcher.stdin, watcher.stdout]) (stream as Socket).unref();
  let stopped: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    watcher.ref();
    watcher.stdin.end();
    if ((await ended) === 0) return;
    // Somebody killed the watcher; another one does its work.
    const second = spawnWatcher([id, folder, "again"]);
    second.stdin.end();
    const code = await new Promise<number | null>((resolve) => second.once("exit", resolve));
    if (code !== 0) throw new Error(`the lab ${id} could not be removed: watcher.mjs ended with ${code}`);
  };
  return {
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function spawnWatcher(args: readonly string[]): Watcher {
  const argv = [programPath("watcher.mjs"), ...args];
  const watcher = spawn(process.execPath, argv, { detached: true, stdio: ["pipe", "pipe", "inherit"] });
  watcher.stdin.on("error", () => {});
  return watcher;
}
