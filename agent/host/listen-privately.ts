import { chmod, chown, mkdir, unlink } from "node:fs/promises";
import type { Server } from "node:net";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import type { UserIds } from "./users.ts";

/**
 * Makes a server listen on a Unix socket that only its own user (or `owner`) and root may use; what lies in its place is
 * replaced: the caller has made sure that nobody answers there. @throws AgentError HOST_FILE when it cannot be made.
 */
export async function listenPrivately(server: Server, socketPath: string, owner?: UserIds): Promise<void> {
  try {
    await mkdir(dirname(socketPath), { recursive: true });
    await unlink(socketPath).catch(() => {
      // There was none.
    });
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
    if (owner !== undefined && process.getuid?.() === 0) await chown(socketPath, owner.uid, owner.gid);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot serve ${socketPath}: ${(error as Error).message}`, {
      remedy: "its folder must belong to the user that serves it",
      cause: error,
    });
  }
}
