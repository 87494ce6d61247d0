import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readFile, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AgentError } from "../errors.ts";

/**
 * Returns the bytes of a file, or null when it does not exist.
 * @throws AgentError HOST_FILE when it cannot be read or has more than maxBytes.
 */
export async function readFileIfAny(path: string, maxBytes: number): Promise<Buffer | null> {
  try {
    const info = await lstat(path);
    if (info.size > maxBytes) {
      throw new AgentError("HOST_FILE", `${path} has ${info.size} bytes; at most ${maxBytes} are read`);
    }
    return await readFile(path);
  } catch (error) {
    if (error instanceof AgentError) throw error;
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new AgentError("HOST_FILE", `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Returns the first bytes, at most maxBytes, of a file that another user writes, or null when it does not exist: a link
 * is not followed, and what is no regular file is not read.
 * @throws AgentError HOST_FILE
 */
export async function readForeignFileIfAny(path: string, maxBytes: number): Promise<Buffer | null> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const info = await handle.stat();
      if (!info.isFile()) throw new Error("it is no regular file");
      const buffer = Buffer.alloc(Math.min(info.size, maxBytes));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new AgentError("HOST_FILE", `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Returns the bytes from `start` up to `end` of a file. @throws AgentError HOST_FILE, also when there are fewer */
export async function readFileSlice(path: string, start: number, end: number): Promise<Buffer> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    try {
      const buffer = Buffer.alloc(end - start);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
      if (bytesRead < buffer.length) throw new Error("it ends too early");
      return buffer;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Returns the bytes of a file that must exist. @throws AgentError HOST_FILE */
export async function readFileBytes(path: string, maxBytes: number): Promise<Buffer> {
  const bytes = await readFileIfAny(path, maxBytes);
  if (bytes === null) throw new AgentError("HOST_FILE", `${path} does not exist`);
  return bytes;
}

/**
 * Replaces a file so that a reader, or a crash at any moment, sees either the whole old or the whole new content:
 * temporary file in the same folder, fsync, rename, fsync of the folder. Missing folders are made, durably too.
 */
export async function replaceFile(path: string, bytes: Buffer | string, mode = 0o644): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${process.pid}.${process.hrtime.bigint()}.tmp`);
  try {
    await makeFolder(folder);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    await writeThrough(await open(temporary, flags, mode), bytes, mode);
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await unlink(temporary).catch(() => {
      // It was renamed or never made; the first error is the one to tell.
    });
    throw new AgentError("HOST_FILE", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Writes a file that nobody reads before its folder says that it is whole; one that stands there goes first, and links to
 * it stay as they are. Its bytes are durable on return, its name once the folder is: @see syncFolder.
 */
export async function writeUnreadFile(path: string, bytes: Buffer): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const create = () => open(path, flags, UNREAD_MODE);
  try {
    const handle = await create().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      await unlink(path);
      return await create();
    });
    await writeThrough(handle, bytes, UNREAD_MODE);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

const UNREAD_MODE = 0o644;

/** Writes and closes a new file; its bytes are durable on return, its name is not. */
async function writeThrough(handle: FileHandle, bytes: Buffer | string, mode: number): Promise<void> {
  try {
    await handle.writeFile(bytes);
    await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a folder and those above it that are missing; once it returns, no loss of power takes them away again. */
export async function makeFolder(path: string, mode?: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, ...(mode === undefined ? {} : { mode }) });
  if (first === undefined) return;
  // A folder's own name is in the one above it.
  for (let folder = path; folder.length >= first.length; folder = dirname(folder)) await syncFolder(dirname(folder));
}

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
