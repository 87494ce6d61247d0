import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RunStep } from "../../agent/apply/step.ts";
import { loadSettings } from "../../agent/commands/load-settings.ts";
import { createOutput } from "../../agent/commands/output.ts";
import { runAgent } from "../../agent/commands/run.ts";
import { bootTimeMs, sleepMs } from "../../agent/host/clock.ts";

/**
 * The agent with one fault: `faulty-agent.mjs --config FILE --step 7-confirm --moment before --do kill|stop|race|wait [--jitter MS]
 * [--marker FILE]`; the file is made when the fault comes.
 * It is a program of its own, so that the real one holds nothing that could be switched on. The fault comes once.
 */

const { values } = parseArgs({
  options: {
    config: { type: "string", default: "" },
    step: { type: "string", default: "" },
    moment: { type: "string", default: "before" },
    do: { type: "string", default: "kill" },
    jitter: { type: "string", default: "0" },
    marker: { type: "string", default: "" },
  },
});

let isDue = true;

/** Ends the process, stops it until SIGCONT, sleeps until the moment at which the revert timer acts, or for a while. */
async function fail(): Promise<void> {
  if (!isDue) return;
  isDue = false;
  if (values.marker !== "") await writeFile(values.marker, "");
  if (values.do === "wait") {
    await sleepMs(Number(values.jitter));
    return;
  }
  if (values.do === "race") {
    const { paths } = await loadSettings(values.config);
    const armed = JSON.parse(await readFile(join(paths.state, "txn", "armed"), "utf8")) as { deadlineMs: number };
    const leftMs = armed.deadlineMs - bootTimeMs() + Number(values.jitter);
    if (leftMs > 0) await sleepMs(leftMs);
    return;
  }
  process.kill(process.pid, values.do === "stop" ? "SIGSTOP" : "SIGKILL");
  // The signal comes at once, but perhaps to another thread first.
  await sleepMs(50);
}

const step: RunStep = async (name, work) => {
  if (name !== values.step) return await work();
  if (values.moment === "before") await fail();
  const result = await work();
  if (values.moment === "after") await fail();
  return result;
};

const output = createOutput({ json: false, color: false }, process.stdout, process.stderr);
process.exit(await runAgent({ config: values.config, step }, output));
