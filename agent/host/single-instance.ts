import { mkdir, rename, unlink } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";

/** Held for as long as the process lives; the kernel lets go of it however the process ends. */
export interface InstanceLock {
  release(): Promise<void>;
}

/**
 * Takes a lock: a Unix socket in a folder that only root writes to, on which its holder listens. (An abstract one could be
 * taken first by any user of the machine, and would not be seen from another network namespace.) What a crash left behind
 * answers nobody and is replaced. The folder is made.
 * @throws AgentError STATE_LOCKED when another process holds it; HOST_FILE
 */
export async function lockInstance(path: string): Promise<InstanceLock> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const server = (await listenOn(path)) ?? ((await clearStale(path)) ? await listenOn(path) : null);
    if (server === null) throw locked(path);
    server.unref();
    return { release: async () => await new Promise<void>((resolve) => server.close(() => resolve())) };
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw new AgentError("HOST_FILE", `cannot lock ${path}: ${(error as Error).message}`, {
      remedy: "the folder must be root's, and its path shorter than 90 characters",
      cause: error,
    });
  }
}

/** Returns a server that listens on the path, or null when something is there already. */
async function listenOn(path: string): Promise<Server | null> {
  const server = createServer((socket) => socket.destroy());
  return await new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(null);
      else reject(error);
    });
    server.listen(path, () => resolve(server));
  });
}

/**
 * Returns whether the place is free now. What lies there is moved aside before it is judged, so that of two who find the
 * same leftover neither removes the lock that the other has just taken.
 */
async function clearStale(path: string): Promise<boolean> {
  if (await isAnswered(path)) return false;
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
  if (await isAnswered(aside)) {
    await rename(aside, path);
    return false;
  }
  await unlink(aside);
  return true;
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function locked(path: string): AgentError {
  return new AgentError("STATE_LOCKED", `another agent works with ${dirname(path)}`, {
    remedy: "stop the running agent first, or ask it by `clawgress status`",
  });
}
