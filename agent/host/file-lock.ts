import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import { openLibc } from "./libc.ts";
import { listProcesses, type ProcessRow } from "./process-table.ts";
import { run } from "./run.ts";

/** Held for as long as the process lives; the kernel lets go of it however the process ends. */
export interface FileLock {
  release(): Promise<void>;
}

/** LOCK_EX and LOCK_NB of flock(2). */
const LOCK_EXCLUSIVE_NOW = 2 | 4;
/** What `flock` is told to answer when another holds the lock: none of its own exit statuses (sysexits.h, 64 to 78). */
const LOCKED_STATUS = 200;
/** How long flock may take beyond its wait. */
const FLOCK_TIMEOUT_MS = 10_000;

/**
 * Takes the lock of a file (flock(2)), waiting for it up to `waitMs`. Returns null when another process holds it for so
 * long. The file and its folder are made; the file stays: it means nothing by itself, so nothing has to be cleared after a
 * crash. Node has no call for it: the C library takes it, or flock(1) on our open file, to which the lock belongs and which outlives the program.
 * @throws AgentError HOST_FILE when the file cannot be opened, HOST_MISSING or HOST_COMMAND when flock does not do its work
 */
export async function lockFile(path: string, waitMs: number): Promise<FileLock | null> {
  for (;;) {
    // A number, not a FileHandle: that would let go when nobody refers to it any more.
    const descriptor = await openLock(path);
    const isTaken = await takeLock(descriptor, waitMs).catch((error: unknown) => {
      closeSync(descriptor);
      throw error;
    });
    if (isTaken && (await isStillThere(descriptor, path))) return { release: async () => closeSync(descriptor) };
    closeSync(descriptor);
    // Whoever held it removed the file, and others will lock the next one.
    if (!isTaken) return null;
  }
}

/**
 * Returns the process that holds the lock of a file, as the kernel tells it (proc(5), fdinfo); null when nobody does, or
 * nobody that we may look at. Unlike trying to take the lock, looking keeps nobody out.
 */
export async function findLockHolder(path: string): Promise<ProcessRow | null> {
  const file = await stat(path).catch(() => null);
  if (file === null) return null;
  const isIt = async (fd: string): Promise<boolean> => {
    const { dev, ino } = await stat(fd).catch(() => ({ dev: 0, ino: 0 }));
    if (dev !== file.dev || ino !== file.ino) return false;
    // Those who wait for it have it open, too.
    return /^lock:.* FLOCK /m.test(await readFile(fd.replace("/fd/", "/fdinfo/"), "utf8").catch(() => ""));
  };
  for (const row of await listProcesses()) {
    const folder = `/proc/${row.pid}/fd`;
    const names = await readdir(folder).catch(() => []);
    if ((await Promise.all(names.map((name) => isIt(`${folder}/${name}`)))).includes(true)) return row;
  }
  return null;
}

async function openLock(path: string): Promise<number> {
  try {
    await mkdir(dirname(path), { recursive: true });
    return openSync(path, constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot lock ${path}: ${(error as Error).message}`, {
      remedy: "its folder must be root's, and what lies there must be a plain file",
      cause: error,
    });
  }
}

/** A free lock is taken by the call itself; who must wait lets a program wait, which can be ended. */
async function takeLock(descriptor: number, waitMs: number): Promise<boolean> {
  if (await tryLock(descriptor)) return true;
  const wait = ["--timeout", String(waitMs / 1_000), "--conflict-exit-code", String(LOCKED_STATUS)];
  const argv = ["flock", "--exclusive", ...wait, "3"] as const;
  const { exitCode, stderr } = await run(argv, { timeoutMs: waitMs + FLOCK_TIMEOUT_MS, descriptor });
  if (exitCode === 0 || exitCode === LOCKED_STATUS) return exitCode === 0;
  throw new AgentError("HOST_COMMAND", `flock failed (${exitCode}): ${stderr.trim()}`);
}

let flock: Promise<((descriptor: number, operation: number) => number) | null> | null = null;

/** Returns whether the lock was free and is taken now; false also where the C library cannot be called. */
async function tryLock(descriptor: number): Promise<boolean> {
  flock ??= openLibc().then(
    ({ library }) => library.func("int flock(int fd, int operation)"),
    () => null,
  );
  return (await flock)?.(descriptor, LOCK_EXCLUSIVE_NOW) === 0;
}

async function isStillThere(descriptor: number, path: string): Promise<boolean> {
  const own = fstatSync(descriptor);
  const there = await stat(path).catch(() => null);
  return own.dev === there?.dev && own.ino === there.ino;
}
