import { runApi } from "../api/run-api.ts";
import { createLog } from "../host/log.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

/** Keeps the decisions and serves the API until it is told to stop. The agent starts it; it goes on without the agent. */
export async function runApiCommand(options: { readonly config: string }, _output: Output): Promise<number> {
  await runApi(await loadSettings(options.config), createLog("api"));
  return 0;
}
