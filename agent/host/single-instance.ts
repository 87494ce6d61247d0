import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { AgentError } from "../errors.ts";

/** Held for as long as the process lives; the kernel lets go of it however the process ends. */
export interface InstanceLock {
  release(): Promise<void>;
}

/**
 * Takes the lock of a state folder. It is an abstract Unix socket, so that a crash leaves nothing stale behind.
 * @throws AgentError STATE_LOCKED when another process holds it.
 */
export async function lockInstance(stateFolder: string): Promise<InstanceLock> {
  const name = createHash("sha256").update(stateFolder).digest("hex").slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const busy = error.code === "EADDRINUSE";
      reject(
        new AgentError(
          busy ? "STATE_LOCKED" : "HOST_FILE",
          busy ? `another agent works with ${stateFolder}` : error.message,
          {
            remedy: "stop the running agent first, or ask it by `clawgress status`",
            cause: error,
          },
        ),
      );
    });
    server.listen(`\0clawgress-${name}`, resolve);
  });
  server.unref();
  return {
    release: async () => {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
