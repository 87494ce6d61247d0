import { spawn } from "node:child_process";
import { open, readdir, readFile, rm, stat } from "node:fs/promises";
import { AgentError } from "../errors.ts";
import { sleepMs } from "./clock.ts";
import { readFileIfAny, replaceFile } from "./files.ts";
import { readProcess } from "./process-table.ts";
import { mainPid, startUnit, stopUnits, type TransientUnit } from "./systemd.ts";

/** What a pid file holds: the pid alone could be another process by now, its start time cannot. */
interface PidRecord {
  readonly pid: number;
  readonly startTicks: string;
  /** The transient unit that it is the program of; missing: a detached process. */
  readonly unit?: string;
}

const MAX_PID_FILE_BYTES = 1024;
const STOP_POLL_MS = 20;
/** A killed process is gone within milliseconds, unless it waits for a disk. */
const KILL_WAIT_MS = 5_000;
/** Carries the pid file's path in a daemon's environment, so that it is known though its pid file was never written. */
const MARK = "CLAWGRESS_PID_FILE";

export interface DaemonOptions {
  readonly pidFile: string;
  readonly logFile: string;
  readonly cwd: string;
  /** The user that the program runs as, or drops to. */
  readonly uid: number;
}

/**
 * Starts a program that outlives this process, in a session of its own, with its output appended to a log file, and
 * writes its pid file. One that was started for the same pid file and is not in it is ended first: it would hold the
 * ports for ever, when its starter was killed at the wrong moment. Returns its pid.
 * @throws AgentError HOST_SERVICE
 */
export async function startDaemon(argv: readonly [string, ...string[]], options: DaemonOptions): Promise<number> {
  await endLost(options);
  const log = await open(options.logFile, "a", 0o640);
  try {
    const [program, ...args] = argv;
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
      cwd: options.cwd,
      env: { ...process.env, [MARK]: options.pidFile },
    });
    const pid = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("spawn", () => resolve(child.pid ?? -1));
    });
    child.unref();
    if (!(await notePid(options.pidFile, pid))) throw new Error("it ended at once");
    return pid;
  } catch (error) {
    throw new AgentError("HOST_SERVICE", `cannot start ${argv[0]}: ${(error as Error).message}`, {
      remedy: `its last words are in ${options.logFile}`,
      cause: error,
    });
  } finally {
    await log.close();
  }
}

/**
 * Does the same with a transient unit of systemd, which keeps the program's output in its journal.
 * @throws AgentError HOST_SERVICE
 */
export async function startDaemonUnit(
  program: readonly string[],
  unit: TransientUnit,
  pidFile: string,
): Promise<number> {
  try {
    const pid = await startUnit(unit, program);
    if (!(await notePid(pidFile, pid, unit.name))) throw new Error("it ended at once");
    return pid;
  } catch (error) {
    throw new AgentError("HOST_SERVICE", `cannot start ${unit.name}: ${(error as Error).message}`, {
      remedy: `its last words: journalctl --unit=${unit.name}`,
      cause: error,
    });
  }
}

/** Writes the pid file of a process that was just started; returns false when it has ended already. */
export async function notePid(pidFile: string, pid: number, unit?: string): Promise<boolean> {
  const row = await readProcess(pid);
  if (row === null) return false;
  const record: PidRecord = { pid, startTicks: row.startTicks, ...(unit === undefined ? {} : { unit }) };
  await replaceFile(pidFile, `${JSON.stringify(record)}\n`);
  return true;
}

/** Returns the pid of a daemon that still runs, or null. */
export async function findDaemon(pidFile: string): Promise<number | null> {
  const record = await readRecord(pidFile);
  if (record === null) return null;
  if ((await readProcess(record.pid))?.startTicks === record.startTicks) return record.pid;
  // systemd starts some again when nobody of ours is there to do it.
  return record.unit === undefined ? null : await mainPid(record.unit).catch(() => null);
}

/** A damaged pid file names no process; starting a second one fails on its port and says so. */
async function readRecord(pidFile: string): Promise<PidRecord | null> {
  const bytes = await readFileIfAny(pidFile, MAX_PID_FILE_BYTES);
  if (bytes === null) return null;
  try {
    const { pid, startTicks, unit } = JSON.parse(bytes.toString("utf8")) as Partial<PidRecord>;
    if (typeof pid !== "number" || typeof startTicks !== "string") return null;
    return { pid, startTicks, ...(typeof unit === "string" ? { unit } : {}) };
  } catch {
    return null;
  }
}

/**
 * Ends a daemon: SIGTERM, and SIGKILL when it still runs after the grace time, which for a unit is the unit's own. Does
 * nothing when it does not run. What systemd cannot be asked to end is ended like any other process.
 */
export async function stopDaemon(pidFile: string, graceMs: number): Promise<void> {
  const unit = (await readRecord(pidFile))?.unit;
  if (unit !== undefined) {
    const isStopped = await stopUnits([unit]).then(
      () => true,
      () => false,
    );
    if (isStopped) return await rm(pidFile, { force: true });
  }
  const pid = await findDaemon(pidFile);
  if (pid === null) return;
  process.kill(pid, "SIGTERM");
  for (let waitedMs = 0; waitedMs < graceMs; waitedMs += STOP_POLL_MS) {
    await sleepMs(STOP_POLL_MS);
    if ((await findDaemon(pidFile)) === null) return;
  }
  await kill(pid);
}

/** Kills what carries the mark of a pid file, as root or as the daemon's user: others may write any mark they like. */
async function endLost({ pidFile, uid }: DaemonOptions): Promise<void> {
  const mark = `${MARK}=${pidFile}`;
  const own = String(process.pid);
  for (const name of await readdir("/proc")) {
    if (!/^[0-9]+$/.test(name) || name === own) continue;
    const owner = await stat(`/proc/${name}`).catch(() => null);
    if (owner === null || (owner.uid !== 0 && owner.uid !== uid)) continue;
    const environment = await readFile(`/proc/${name}/environ`, "latin1").catch(() => "");
    if (!environment.split("\0").includes(mark)) continue;
    await kill(Number(name));
  }
}

async function kill(pid: number): Promise<void> {
  const before = await readProcess(pid);
  if (before === null) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  for (let waitedMs = 0; waitedMs < KILL_WAIT_MS; waitedMs += STOP_POLL_MS) {
    if ((await readProcess(pid))?.startTicks !== before.startTicks) return;
    await sleepMs(STOP_POLL_MS);
  }
}
