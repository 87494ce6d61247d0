import { rm, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { FORWARDING } from "../apply/base-service.ts";
import { clearScratch } from "../apply/clear-scratch.ts";
import { unitNames } from "../apply/daemons.ts";
import { hasTable, loadRuleset } from "../apply/kernel.ts";
import { AgentError } from "../errors.ts";
import { removeProbeNamespace } from "../health/namespace.ts";
import { stopDaemon } from "../host/daemon.ts";
import { lockInstance } from "../host/single-instance.ts";
import { stopUnits } from "../host/systemd.ts";
import { type Paths, pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

const STOP_GRACE_MS = 2_000;
const TABLES = ["clawgress", "clawgress_base", "clawgress_lockdown"] as const;

export interface CleanupOptions {
  readonly config: string;
  readonly yes?: boolean;
}

/**
 * Removes enforcement from this machine: forwarding first, so that nothing is ever forwarded without rules; then our
 * programs, tables, namespace and run folder. State, configuration and other tables stay. Asks first. Returns 0.
 * @throws AgentError USAGE without consent, STATE_LOCKED while an agent runs
 */
export async function cleanUp({ config, yes = false }: CleanupOptions, output: Output): Promise<number> {
  const settings = await loadSettings(config);
  const paths = pathsOf(settings);
  if (!yes) await askConsent(settings.gateway);
  const lock = await lockInstance(paths.agentLock);
  try {
    await removeAll(settings, paths);
  } finally {
    await lock.release();
  }
  output.line(`removed: rules, named, gate, proxy and ${settings.paths.run}; forwarding is off`);
  output.line(`kept: ${settings.paths.state} and ${config}; \`clawgress run\` enforces again`);
  if (settings.driver === "systemd") {
    output.line("the next boot enforces again, too, unless: systemctl disable clawgress-boot clawgress-agent");
  }
  output.document({ ok: true, removed: [...TABLES, settings.paths.run], kept: [settings.paths.state] });
  return 0;
}

async function askConsent(gateway: string): Promise<void> {
  const remedy = "say --yes, or run it on a terminal";
  if (!process.stdin.isTTY) throw new AgentError("USAGE", "cleanup stops all forwarding and asks first", { remedy });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const question = `This stops forwarding and removes all rules from ${gateway}. Type its name to go on: `;
  const answer = await terminal.question(question).finally(() => terminal.close());
  if (answer.trim() !== gateway) throw new AgentError("USAGE", "nothing was changed", { remedy });
}

async function removeAll(settings: Settings, paths: Paths): Promise<void> {
  for (const path of FORWARDING) await writeFile(path, "0\n");
  const daemons = [paths.apiPid, paths.timerPid, paths.packetLogPid, paths.gatePid, paths.proxyPid, paths.namedPid];
  for (const pidFile of daemons) await stopDaemon(pidFile, STOP_GRACE_MS);
  // By name as well: one that an agent was killed before it noted, and the timer of a broken glass.
  if (settings.driver === "systemd") await stopUnits(unitNames(settings));
  for (const table of TABLES) {
    if (await hasTable(table)) await loadRuleset(`delete table inet ${table}\n`);
  }
  await removeProbeNamespace(settings.health.namespace);
  await clearScratch();
  await rm(settings.paths.run, { recursive: true, force: true });
}
