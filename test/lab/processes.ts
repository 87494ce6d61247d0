import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A program that runs on a node of the lab until it ends, is killed, or the lab stops. */
export interface LabProcess {
  readonly pid: number;
  /** What it has printed so far, standard output and error together; empty when it prints to a file. */
  readonly output: () => string;
  /** Exit code, or the signal's name when it was killed. */
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Sends a signal (default SIGTERM) and resolves when the program has ended. */
  readonly kill: (signal?: NodeJS.Signals) => Promise<number | NodeJS.Signals>;
}

export interface SpawnOptions {
  readonly env?: { readonly [name: string]: string };
  readonly cwd?: string;
  /** Appends output to this file instead of keeping it in memory. */
  readonly logFile?: string;
}

const MAX_OUTPUT_CHARS = 4 * 1024 * 1024;

/** Returns the folder of the package: the nearest one above this file, source or bundle, with a package.json. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error("the lab's programs need the package's folder: no package.json above this file");
    folder = parent;
  }
  return folder;
}

/** Returns the path of one of the lab's own programs, for example `client/client.mjs`. */
export function programPath(name: string): string {
  return join(packageRoot(), "test", "lab", name);
}

/** Starts a program in a namespace; mounts and the file system stay those of the caller. */
export function startProcess(
  namespace: string,
  argv: readonly string[],
  options: SpawnOptions & { readonly env: { readonly [name: string]: string } },
): LabProcess {
  const log = options.logFile === undefined ? null : openSync(options.logFile, "a");
  const child = spawn("nsenter", [`--net=/run/netns/${namespace}`, "--", ...argv], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    // A group of its own, so that Ctrl-C in a terminal reaches the owner first.
    detached: true,
    stdio: ["ignore", log ?? "pipe", log ?? "pipe"],
  });
  if (log !== null) closeSync(log);
  const exited = exitOf(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString("utf8")).slice(-MAX_OUTPUT_CHARS);
    });
  }
  return {
    pid: child.pid ?? -1,
    output: () => output,
    exited,
    kill: async (signal = "SIGTERM") => {
      child.kill(signal);
      return await exited;
    },
  };
}

function exitOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  return new Promise((resolve) => {
    child.once("error", () => resolve(127));
    // Not "close": a daemon that the program left behind may hold its output open.
    child.once("exit", (code, signal) => resolve(code ?? signal ?? "SIGKILL"));
  });
}
