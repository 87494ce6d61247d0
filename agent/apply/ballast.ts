import { randomBytes } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { PROXY_CONF } from "../compile/haproxy.ts";
import { proxyMaps } from "../compile/proxy-maps.ts";
import { zoneFiles } from "../compile/zone-files.ts";
import { AgentError } from "../errors.ts";
import { replaceFile } from "../host/files.ts";
import type { ApplyContext } from "./context.ts";
import type { StoredRelease } from "./release-store.ts";

/** Notes, pid files and what others write meanwhile. */
const SLACK_BYTES = 256 * 1024;
/** A file takes whole blocks. */
const BLOCK_BYTES = 4096;
/** Every file of a release that a revert may have to write into the run folder. */
const written = [
  ...zoneFiles({ isSharded: true }).map(({ file }) => file),
  ...["named.conf", PROXY_CONF, ...Object.values(proxyMaps)],
];

/**
 * Takes as much room in the run folder as a revert to a release needs, before anything is changed: a disk that fills up
 * during a change then keeps nobody from undoing it. What is taken stays taken until a revert needs it.
 * @throws AgentError HOST_FILE when there is not that much
 */
export async function takeBallast({ paths }: Pick<ApplyContext, "paths">, previous: StoredRelease): Promise<void> {
  const sizes = await Promise.all(written.map((name) => sizeOf(join(previous.folder, name))));
  const blocks = sizes.reduce((sum, bytes) => sum + Math.ceil(bytes / BLOCK_BYTES), 0);
  const neededBytes = blocks * BLOCK_BYTES + SLACK_BYTES;
  if ((await sizeOf(paths.ballast)) >= neededBytes) return;
  try {
    // No file system makes less of it.
    await replaceFile(paths.ballast, randomBytes(neededBytes), 0o600);
  } catch (error) {
    throw new AgentError("HOST_FILE", `there is no room to undo a change: ${(error as Error).message}`, {
      remedy: `make ${Math.ceil(neededBytes / 1024)} KiB of room in the folder of ${paths.ballast}; the next poll tries again`,
      cause: error,
    });
  }
}

/** Gives the room back, for whoever puts a release back. */
export async function dropBallast({ paths }: Pick<ApplyContext, "paths">): Promise<void> {
  await rm(paths.ballast, { force: true });
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}
