import { runGate } from "../gate/gate.ts";
import { createLog } from "../host/log.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

/** Runs the DNS gate until it is told to stop. The agent starts it; it goes on without the agent. */
export async function runGateCommand(options: { readonly config: string }, _output: Output): Promise<number> {
  await runGate(await loadSettings(options.config), createLog("gate"));
  return 0;
}
