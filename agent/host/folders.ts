import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../errors.ts";

/** Removes a folder and all in it; a missing one is fine. @throws AgentError HOST_FILE */
export async function removeFolder(folder: string): Promise<void> {
  await guard(`cannot remove ${folder}`, rm(folder, { recursive: true, force: true }));
}

/** Makes a folder that only its owner sees, where there is none. @throws AgentError HOST_FILE */
export async function makeFolder(folder: string): Promise<void> {
  await guard(`cannot make ${folder}`, mkdir(folder, { recursive: true, mode: 0o700 }));
}

/** Returns the names in a folder. @throws AgentError HOST_FILE */
export async function listFolder(folder: string): Promise<readonly string[]> {
  return await guard(`cannot list ${folder}`, readdir(folder));
}

/** Removes entries of a folder, whatever they are. @throws AgentError HOST_FILE */
export async function removeFrom(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) await removeFolder(join(folder, name));
}

async function guard<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new AgentError("HOST_FILE", `${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** Makes an empty folder with a name of its own among the system's temporary ones, for root alone. @throws AgentError HOST_FILE */
export async function makeScratchFolder(prefix: string): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), prefix));
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot make a folder in ${tmpdir()}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
