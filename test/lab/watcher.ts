import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { programPath } from "./processes.ts";

/**
 * Starts the process that ends a lab when this one asks, or when it dies: its standard input closes then, whatever
 * the cause. `stop` resolves when everything is gone. @throws Error from `stop` when something is left.
 */
export function startWatcher(id: string, folder: string): { readonly stop: () => Promise<void> } {
  const argv = [programPath("watcher.mjs"), id, folder];
  const start = () => spawn(process.execPath, argv, { detached: true, stdio: ["pipe", "ignore", "inherit"] });
  const watcher = start();
  watcher.unref();
  (watcher.stdin as Socket).unref();
  watcher.stdin.on("error", () => {});
  const ended = new Promise<number | null>((resolve) => watcher.once("exit", resolve));
  let stopped: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    watcher.ref();
    watcher.stdin.end();
    if ((await ended) === 0) return;
    // Somebody killed the watcher; another one does its work.
    const second = start();
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
