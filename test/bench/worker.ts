import { runChecked } from "../../agent/host/run.ts";
import type { LabNode } from "../lab/addresses.ts";
import type { Lab } from "../lab/lab.ts";

/** Returns the command line of a part of this program as a process of its own. */
export function workerArgv(name: string, params: object): [string, ...string[]] {
  return [process.execPath, process.argv[1] ?? "", "--worker", name, JSON.stringify(params)];
}

/** Runs a worker, on a node of a lab when one is given, and returns what it printed. @throws AgentError HOST_COMMAND */
export async function runWorker<T>(
  name: string,
  params: object,
  { on, timeoutMs = 60_000 }: { readonly on?: { lab: Lab; node: LabNode }; readonly timeoutMs?: number } = {},
): Promise<T> {
  const argv = workerArgv(name, params);
  const text = await (on === undefined
    ? runChecked(argv, { timeoutMs })
    : on.lab.execChecked(on.node, argv, { timeoutMs }));
  return JSON.parse(text) as T;
}
