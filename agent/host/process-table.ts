import { readdir, readFile, readlink } from "node:fs/promises";

/** A process as /proc/<pid>/stat tells it (proc(5)). */
export interface ProcessRow {
  readonly pid: number;
  /** One letter: R, S, D, `T` (stopped by a signal), `t` (by a debugger), … */
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Field 22, start time in ticks since boot: together with the pid it names one process for ever. */
  readonly startTicks: string;
}

/** Flag of a socket that accepts connections (__SO_ACCEPTCON), as /proc/net/unix writes it. */
const LISTENING = "00010000";

/** Returns a process, or null for no process or a zombie. */
export async function readProcess(pid: number): Promise<ProcessRow | null> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The name in field 2 may hold spaces and parentheses: count from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state = "", parent = "", , session = ""] = fields;
  const startTicks = fields[19];
  if (startTicks === undefined || state === "Z" || state === "X") return null;
  return { pid, state, parent: Number(parent), session: Number(session), startTicks };
}

/** Returns every process that can be seen. */
export async function listProcesses(): Promise<readonly ProcessRow[]> {
  const names = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name));
  const rows = await Promise.all(names.map((name) => readProcess(Number(name))));
  return rows.filter((row) => row !== null);
}

/** Returns whether a process of this network namespace listens on a Unix socket that was bound to this path. */
export async function isListening(path: string): Promise<boolean> {
  return (await inodesOf(path)).size > 0;
}

/**
 * Returns the process that listens on a Unix socket that was bound to this path, as the kernel tells it (/proc/net/unix
 * and the file descriptors of every process); null when nobody does, or nobody that we may look at.
 */
export async function findListener(path: string): Promise<ProcessRow | null> {
  const inodes = await inodesOf(path);
  if (inodes.size === 0) return null;
  for (const row of await listProcesses()) {
    if (await hasOpen(row.pid, inodes)) return row;
  }
  return null;
}

/** Lines of /proc/net/unix (unix(7)): `Num: RefCount Protocol Flags Type St Inode Path`; the path may hold spaces. */
async function inodesOf(path: string): Promise<ReadonlySet<string>> {
  const inodes = new Set<string>();
  for (const line of (await readFile("/proc/net/unix", "utf8")).split("\n")) {
    const [, flags = "", inode = "", bound] = /^\S+ \S+ \S+ (\S+) \S+ \S+ +(\d+) (.*)$/.exec(line) ?? [];
    if (bound === path && flags === LISTENING) inodes.add(`socket:[${inode}]`);
  }
  return inodes;
}

async function hasOpen(pid: number, targets: ReadonlySet<string>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => "")));
  return links.some((link) => targets.has(link));
}
