import { mkdir, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Logger } from "pino";
import type { Agent } from "./agent.ts";
import type { ApplyContext } from "./apply/context.ts";
import { AgentError } from "./errors.ts";
import { createGateControl } from "./gate/control-client.ts";
import { readFileBytes } from "./host/files.ts";
import { healPointers } from "./host/pointer-store.ts";
import { createTurn } from "./host/turn.ts";
import { findUser, resolveUser } from "./host/users.ts";
import { formatTextIssue } from "./policy/json-text.ts";
import { openReporter } from "./report/reporter.ts";
import { pathsOf } from "./settings/paths.ts";
import type { Settings } from "./settings/settings.ts";
import { openSource } from "./source/open-source.ts";
import { parseRoot } from "./trust/parse-root.ts";
import { MAX_ROOT_BYTES, type Root } from "./trust/root.ts";

/** Returns what the apply steps work with. @throws AgentError HOST_MISSING for a user that does not exist. */
export async function openApplyContext(settings: Settings, configFile: string, log: Logger): Promise<ApplyContext> {
  const paths = pathsOf(settings);
  await mkdir(settings.paths.run, { recursive: true });
  return {
    settings,
    paths,
    configFile: resolve(configFile),
    programFolder: dirname(await realpath(process.argv[1] ?? "")),
    users: {
      named: await resolveUser(settings.dns.user),
      gate: await resolveUser(settings.gate.user),
      proxy: await findUser(settings.proxy.user),
    },
    gate: createGateControl(paths.gateSocket),
    tableDigests: new Map(),
    inTurn: createTurn(),
    log,
  };
}

/**
 * Returns an agent, ready for its first cycle. Reads the root of trust and heals the pointers; touches nothing else.
 * @throws AgentError TRUST_ROOT_INVALID, STATE_CORRUPT, SETTINGS_INVALID
 */
export async function openAgent(settings: Settings, apply: ApplyContext, log: Logger): Promise<Agent> {
  const { paths } = apply;
  for (const note of await healPointers(paths.pointers)) log.warn({ event: "pointer-healed", note });
  const root = await readRoot(settings);
  if (settings.trust.insecure) log.warn({ event: "insecure", reason: "trust.insecure is true: unsigned policies run" });
  if (settings.lifeline.length === 0) {
    const reason =
      "lifeline is empty: nobody behind a client interface reaches the gateway itself, whoever manages it included";
    log.warn({ event: "no-lifeline", reason });
  }
  const source = await openSource(settings.repository, {
    gitFolder: paths.git,
    dnsServers: settings.dns.upstreams,
    dnsPort: settings.dns.upstreamPort,
  });
  const reporter = settings.report.github === null ? null : await openReporter({ settings, folder: paths.outbox, log });
  return { settings, paths, root, source, apply, reporter, log, memory: { settledCommit: null, last: null } };
}

async function readRoot(settings: Settings): Promise<Root> {
  const path = settings.trust.root;
  const result = parseRoot(await readFileBytes(path, MAX_ROOT_BYTES), path);
  if (result.ok) return result.root;
  throw new AgentError("TRUST_ROOT_INVALID", result.issues.map(formatTextIssue).join("\n"), {
    remedy: "install a sound root of trust at trust.root",
  });
}
