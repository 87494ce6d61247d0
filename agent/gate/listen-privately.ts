import { chmod, mkdir, unlink } from "node:fs/promises";
import type { Server } from "node:net";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";

/**
 * Makes a server listen on a Unix socket that only its own user and root may use; what lies in its place is replaced.
 * @throws AgentError HOST_FILE when it cannot be made.
 */
export async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  try {
    await mkdir(dirname(socketPath), { recursive: true });
    await unlink(socketPath).catch(() => {});
    // The mask holds while the socket is made, so that at no moment anybody else could connect.
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(socketPath, resolve);
      });
    } finally {
      process.umask(mask);
    }
    await chmod(socketPath, 0o600);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot serve ${socketPath}: ${(error as Error).message}`, {
      remedy: "its folder must belong to the gate's user",
      cause: error,
    });
  }
}
