import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { sleepMs } from "../../agent/host/clock.ts";
import { listProcesses } from "../../agent/host/process-table.ts";
import { type RunResult, run, runChecked } from "../../agent/host/run.ts";

/** A machine whose first process is systemd, made of namespaces: our gateway is installed there as README.md says. */
export interface Machine {
  /** Runs a program inside and returns what it says, whatever its exit code is. */
  readonly exec: (argv: readonly string[], options?: { readonly stdin?: string }) => Promise<RunResult>;
  /** Returns what a program inside prints. @throws Error when it fails */
  readonly ask: (argv: readonly string[], options?: { readonly stdin?: string }) => Promise<string>;
  /** Cuts the power, and starts again with the files that are there. */
  readonly reboot: () => Promise<void>;
  readonly remove: () => Promise<void>;
}

const here = dirname(fileURLToPath(import.meta.url));
const LIMITS = { timeoutMs: 60_000 };
const START_MS = 60_000;
const POLL_MS = 100;
const namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "--cgroup"] as const;

/** Returns why this system can have no such machine, or null. */
export async function whyNoMachine(): Promise<string | null> {
  const script = "mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && test -x /lib/systemd/systemd";
  const { exitCode, stderr } = await run(["unshare", ...namespaces, "sh", "-c", script], LIMITS);
  return exitCode === 0 ? null : `no namespaces, cgroup v2 or systemd here: ${stderr.trim()}`;
}

/** Starts a machine and returns when its target is reached. @throws Error with its console when it is not */
export async function startMachine(): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), "clawgress-machine-"));
  const layer = join(folder, "layer");
  await mkdir(layer);
  await runChecked(["mount", "-t", "tmpfs", "-o", "mode=755,size=1g", "machine", layer], LIMITS);
  const consoleFile = join(folder, "console.log");
  let child: ChildProcess | null = null;
  let first = 0;
  const enter = (argv: readonly string[]): readonly [string, ...string[]] => {
    const kinds = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
    return ["nsenter", `--target=${first}`, ...kinds, "--wd=/", "--", ...argv];
  };
  const exec: Machine["exec"] = (argv, options = {}) => run(enter(argv), { ...LIMITS, ...options });
  const start = async (prepare: readonly string[]): Promise<void> => {
    const log = openSync(consoleFile, "a");
    child = spawn(join(here, "container.sh"), [layer, ...prepare], { stdio: ["ignore", log, log] });
    closeSync(log);
    first = await awaitFirst(child, consoleFile);
    for (let waitedMs = 0; waitedMs < START_MS; waitedMs += POLL_MS) {
      const { stdout } = await exec(["systemctl", "is-active", "machine.target"]);
      if (stdout.trim() === "active") return;
      await sleepMs(POLL_MS);
    }
    throw new Error(`the machine does not start: ${await readFile(consoleFile, "utf8")}`);
  };
  const stop = async (): Promise<void> => {
    if (child === null || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child?.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    while ((await listProcesses()).some(({ pid }) => pid === first)) await sleepMs(POLL_MS);
    const group = join(layer, "cgroup", `clawgress-machine-${child.pid}`);
    await run(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], LIMITS);
  };
  const remove = async (): Promise<void> => {
    await stop();
    await run(["umount", "--recursive", "--lazy", layer], LIMITS);
    await rm(folder, { recursive: true });
  };
  try {
    await start([join(here, "prepare.sh")]);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    exec,
    ask: async (argv, options = {}) => await runChecked(enter(argv), { ...LIMITS, ...options }),
    reboot: async () => {
      await stop();
      await start([]);
    },
    remove,
  };
}

/** Returns the pid of systemd inside, once the files are prepared and it has taken over. */
async function awaitFirst(child: ChildProcess, consoleFile: string): Promise<number> {
  for (let waitedMs = 0; waitedMs < START_MS; waitedMs += POLL_MS) {
    if (child.exitCode !== null) break;
    const first = (await listProcesses()).find(({ parent }) => parent === child.pid);
    const name = first === undefined ? "" : await readFile(`/proc/${first.pid}/comm`, "utf8").catch(() => "");
    if (first !== undefined && name.trim() === "systemd") return first.pid;
    await sleepMs(POLL_MS);
  }
  throw new Error(`systemd does not start: ${await readFile(consoleFile, "utf8")}`);
}
