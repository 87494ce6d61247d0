import fs from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { AgentError } from "../errors.ts";

/** The file system as the Git library takes it. */
export const gitFs = fs;

/** Removes a folder and all in it; a missing one is fine. @throws AgentError HOST_FILE */
export async function removeFolder(folder: string): Promise<void> {
  await guard(`cannot remove ${folder}`, rm(folder, { recursive: true, force: true }));
}

/** Makes an empty folder in the place of whatever was there. @throws AgentError HOST_FILE */
export async function makeEmptyFolder(folder: string): Promise<void> {
  await removeFolder(folder);
  await guard(`cannot make ${folder}`, mkdir(folder, { recursive: true, mode: 0o700 }));
}

/** Puts a folder in the place of another, which is removed. A crash in between leaves neither: only for caches. @throws AgentError HOST_FILE */
export async function swapFolder(from: string, to: string): Promise<void> {
  await removeFolder(to);
  await guard(`cannot rename ${from} to ${to}`, rename(from, to));
}

/** Returns the number of files in a folder whose names end so; 0 when there is no such folder. */
export async function countFiles(folder: string, ending: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith(ending)).length;
}

async function guard(what: string, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw new AgentError("HOST_FILE", `${what}: ${(error as Error).message}`, { cause: error });
  }
}
