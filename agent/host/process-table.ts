import { readdir, readFile } from "node:fs/promises";

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
