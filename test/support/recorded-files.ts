import { promises as real } from "node:fs";

/**
 * Stands in for `node:fs/promises`, does what it does, and writes down every step that changes a file system, in order:
 * what is written and when it is made durable. @see power-loss.ts
 */
export type FileStep =
  | { readonly kind: "create"; readonly path: string; readonly inode: number }
  | { readonly kind: "write"; readonly inode: number; readonly bytes: Buffer }
  | { readonly kind: "sync"; readonly inode: number }
  | { readonly kind: "sync-folder"; readonly path: string }
  | { readonly kind: "link"; readonly path: string; readonly from: string }
  | { readonly kind: "rename"; readonly path: string; readonly from: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "mkdir"; readonly path: string };

let steps: FileStep[] | null = null;
/** The kernel gives the number of a file that is gone to the next one; here each file has its own. */
const numbers = new Map<number, number>();
let nextNumber = Number.MAX_SAFE_INTEGER / 2;

/** Returns the steps of some work, in order. */
export async function recordSteps(work: (count: () => number) => Promise<void>): Promise<readonly FileStep[]> {
  const recorded: FileStep[] = [];
  steps = recorded;
  try {
    await work(() => recorded.length);
  } finally {
    steps = null;
  }
  return recorded;
}

const text = (path: unknown): string => String(path);

export const open: typeof real.open = async (path, flags, mode) => {
  const isThere = await real.lstat(path).catch(() => null);
  const handle = await real.open(path, flags, mode);
  if (steps === null) return handle;
  const info = await handle.stat();
  if (isThere === null) numbers.set(info.ino, ++nextNumber);
  const inode = numbers.get(info.ino) ?? info.ino;
  if (isThere === null) steps.push({ kind: "create", path: text(path), inode });
  const { writeFile, sync } = handle;
  handle.writeFile = async (data, ...rest) => {
    await writeFile.call(handle, data, ...rest);
    steps?.push({ kind: "write", inode, bytes: Buffer.from(data as string | Buffer) });
  };
  handle.sync = async () => {
    await sync.call(handle);
    steps?.push(info.isDirectory() ? { kind: "sync-folder", path: text(path) } : { kind: "sync", inode });
  };
  return handle;
};

export const rename: typeof real.rename = async (from, path) => {
  await real.rename(from, path);
  steps?.push({ kind: "rename", path: text(path), from: text(from) });
};

export const link: typeof real.link = async (from, path) => {
  await real.link(from, path);
  steps?.push({ kind: "link", path: text(path), from: text(from) });
};

export const unlink: typeof real.unlink = async (path) => {
  await real.unlink(path);
  steps?.push({ kind: "remove", path: text(path) });
};

/** Of single files; whole folders are removed by nobody who is recorded. */
export const rm: typeof real.rm = async (path, options) => {
  const isThere = await real.lstat(path).catch(() => null);
  await real.rm(path, options);
  if (steps === null || isThere === null) return;
  if (isThere.isDirectory()) throw new Error(`a folder is removed: ${path}`);
  steps.push({ kind: "remove", path: text(path) });
};

export const mkdir = (async (path: string, options?: { recursive?: boolean; mode?: number }) => {
  const first = await real.mkdir(path, options);
  if (steps === null) return first;
  const top = options?.recursive === true ? first : path;
  if (top === undefined) return first;
  const below = path
    .slice(top.length)
    .split("/")
    .filter((name) => name !== "");
  let folder = top;
  for (const name of ["", ...below]) {
    if (name !== "") folder = `${folder}/${name}`;
    steps.push({ kind: "mkdir", path: folder });
  }
  return first;
}) as typeof real.mkdir;

const unrecorded = (name: string) => (): never => {
  throw new Error(`${name} is not recorded, and nothing that must last is written by it`);
};
export const writeFile: typeof real.writeFile = (...args) =>
  steps === null ? real.writeFile(...args) : unrecorded("writeFile")();
export const appendFile: typeof real.appendFile = (...args) =>
  steps === null ? real.appendFile(...args) : unrecorded("appendFile")();
export const copyFile: typeof real.copyFile = (...args) =>
  steps === null ? real.copyFile(...args) : unrecorded("copyFile")();

export const { access, chmod, chown, cp, lchown, lstat, mkdtemp, readdir, readFile, realpath, rmdir, stat, symlink } =
  real;
