import { existsSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { AgentError } from "../errors.ts";
import { run, runChecked } from "./run.ts";

/** A service that is not in a file: it is gone when it ends, and nobody's child but systemd's. */
export interface TransientUnit {
  /** `clawgress-gate.service` */
  readonly name: string;
  /** `Name=value` each (systemd.exec(5), systemd.service(5)). */
  readonly properties: readonly string[];
}

/** A service of type notify may load a large policy before it says that it is ready. */
const START_TIMEOUT_MS = 120_000;
/** systemd kills after the unit's own TimeoutStopSec. */
const STOP_TIMEOUT_MS = 60_000;
const SHOW_TIMEOUT_MS = 10_000;
/** Taken over into the unit: nothing else of our environment is. */
const KEPT_VARIABLES = ["CLAWGRESS_LOG"] as const;

/**
 * Returns when transient units can be started from here and end up in this network.
 * @throws AgentError HOST_MISSING with what is in the way
 */
export async function requireSystemd(): Promise<void> {
  const remedy = 'write "driver": "process" in agent.json: programs are detached processes then';
  if (!existsSync("/run/systemd/system")) {
    throw new AgentError("HOST_MISSING", "driver is systemd, but systemd does not run this machine", { remedy });
  }
  // What may not look at the first process was started by it, with less than it has.
  const first = await readlink("/proc/1/ns/net").catch(() => null);
  if (first !== null && first !== (await readlink("/proc/self/ns/net"))) {
    throw new AgentError("HOST_MISSING", "driver is systemd, but its units run in another network namespace", {
      remedy,
    });
  }
}

/** Returns the arguments that start a program as a transient unit. An array, as everywhere: no shell and no quoting. */
export function transientArgv(
  { name, properties }: TransientUnit,
  program: readonly string[],
  environment: { readonly [name: string]: string | undefined } = process.env,
): readonly [string, ...string[]] {
  const kept = KEPT_VARIABLES.flatMap((key) => (environment[key] === undefined ? [] : [`--setenv=${key}`]));
  return [
    "systemd-run",
    ...["--system", "--quiet", "--collect", "--no-ask-password"],
    `--unit=${name}`,
    ...properties.map((property) => `--property=${property}`),
    ...kept,
    "--",
    // systemd puts the environment in place of `$NAME`, and `$` in place of `$$`.
    ...program.map((argument) => argument.replaceAll("$", "$$$$")),
  ];
}

/**
 * Starts a program as a transient unit and returns its pid when systemd says that it runs; with `Type=notify`, when the
 * program says so itself. What is left of an earlier unit of this name is ended first. @throws AgentError HOST_MISSING, HOST_COMMAND
 */
export async function startUnit(unit: TransientUnit, program: readonly string[]): Promise<number> {
  await stopUnits([unit.name]);
  try {
    await runChecked(transientArgv(unit, program), { timeoutMs: START_TIMEOUT_MS });
    const pid = await mainPid(unit.name);
    if (pid === null) throw new AgentError("HOST_COMMAND", `${unit.name} ended at once`);
    return pid;
  } catch (error) {
    // It may be one that systemd starts again and again.
    await stopUnits([unit.name]).catch(() => {});
    throw error;
  }
}

/** Ends units by their names, in which `*` and `?` stand for any; what does not run is fine. @throws AgentError HOST_MISSING, HOST_COMMAND */
export async function stopUnits(names: readonly string[]): Promise<void> {
  // 5: there is no such unit.
  const { exitCode, stderr } = await run(["systemctl", "--system", "--no-ask-password", "stop", "--", ...names], {
    timeoutMs: STOP_TIMEOUT_MS,
  });
  if (exitCode !== 0 && exitCode !== 5) {
    throw new AgentError("HOST_COMMAND", `systemctl stop failed (${exitCode}): ${stderr.trim().slice(0, 500)}`);
  }
}

/** Returns the pid of a unit's program, or null when it does not run. @throws AgentError HOST_MISSING, HOST_COMMAND */
export async function mainPid(name: string): Promise<number | null> {
  const argv = ["systemctl", "--system", "show", "--property=MainPID", "--value", "--", name] as const;
  const pid = Number((await runChecked(argv, { timeoutMs: SHOW_TIMEOUT_MS })).trim());
  return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
}
