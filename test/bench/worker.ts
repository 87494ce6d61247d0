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
  { on, stdin = "" }: { readonly on?: { readonly lab: Lab; readonly node: LabNode }; readonly stdin?: string } = {},
): Promise<T> {
  const argv = workerArgv(name, params);
  const options = { timeoutMs: 60_000, stdin };
  const text = await (on === undefined ? runChecked(argv, options) : on.lab.execChecked(on.node, argv, options));
  return JSON.parse(text) as T;
}
