import { constants } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AgentError } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Tree } from "../source/read-manifest.ts";
import { LOCK_PATH } from "../trust/lock.ts";
import { removeFolder } from "./folders.ts";

/**
 * Returns a working tree as a place to read from, with the rules of a commit: regular files only, not executable, and
 * no symbolic link anywhere on the way, or a cloned repository could lead out of its folder.
 */
export function openWorkTree(folder: string): Tree {
  return {
    readFile: async (path, maxBytes) => {
      if (!(await isWithin(folder, path))) return null;
      return await readRegular(join(folder, path), path, maxBytes);
    },
    listFiles: async (path, maxEntries) => {
      if (!(await isWithin(folder, path))) return [];
      const entries = await readdir(join(folder, path), { withFileTypes: true });
      if (entries.length > maxEntries) {
        throw new AgentError(
          "SOURCE_TOO_LARGE",
          `${path} has ${entries.length} entries; at most ${maxEntries} are read`,
        );
      }
      const files = entries.filter((entry) => entry.isFile());
      return files.map((entry) => entry.name).sort(compareTexts);
    },
  };
}

/** Returns the nearest folder, from the given one upwards, that holds a lock or `.git`; the given one when none does. */
export async function findRepositoryRoot(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    for (const mark of [LOCK_PATH, ".git"]) if ((await lstat(join(at, mark)).catch(() => null)) !== null) return at;
    if (at === dirname(at)) return folder;
  }
}

/**
 * Removes those of the folders directly in a folder of a working tree that a test picks, and returns their names, sorted.
 * @throws AgentError SOURCE_FILE when a symbolic link is on the way; HOST_FILE
 */
export async function removeFolders(
  folder: string,
  path: string,
  pick: (name: string) => boolean,
): Promise<readonly string[]> {
  if (!(await isWithin(folder, path))) return [];
  const entries = await readdir(join(folder, path), { withFileTypes: true });
  const picked = entries.filter((entry) => entry.isDirectory() && pick(entry.name)).map((entry) => entry.name);
  for (const name of picked) await removeFolder(join(folder, path, name));
  return picked.sort(compareTexts);
}

/**
 * Returns whether a path exists below a folder. @throws AgentError SOURCE_FILE when a step on the way is a symbolic
 * link, or something else than a folder. Call it before writing to a path, too.
 */
export async function isWithin(folder: string, path: string): Promise<boolean> {
  const steps = path.split("/");
  let at = folder;
  for (const [index, step] of steps.entries()) {
    at = join(at, step);
    const info = await lstat(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw new AgentError("SOURCE_FILE", `cannot look at ${at}: ${error.message}`, { cause: error });
    });
    if (info === null) return false;
    if (info.isSymbolicLink()) throw refuseFile(path, `${steps.slice(0, index + 1).join("/")} is a symbolic link`);
    if (index < steps.length - 1 && !info.isDirectory()) throw refuseFile(path, `${at} is not a folder`);
  }
  return true;
}

async function readRegular(file: string, path: string, maxBytes: number): Promise<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch((error: Error) => {
    throw new AgentError("SOURCE_FILE", `cannot read ${path}: ${error.message}`, { cause: error });
  });
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw refuseFile(path, "it is not a regular file");
    if ((info.mode & 0o111) !== 0) throw refuseFile(path, `it is executable; run chmod -x on it`);
    if (info.size > maxBytes) {
      throw new AgentError("SOURCE_TOO_LARGE", `${path} has ${info.size} bytes; at most ${maxBytes} are read`);
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function refuseFile(path: string, why: string): AgentError {
  return new AgentError("SOURCE_FILE", `${path} cannot be a policy file: ${why}`, {
    remedy: "keep policy files, locks and approvals as plain files in plain folders",
  });
}
