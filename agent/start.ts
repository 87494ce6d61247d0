import type { Logger } from "pino";
import type { Agent } from "./agent.ts";
import type { ApplyContext } from "./apply/context.ts";
import { AgentError } from "./errors.ts";
import { readFileBytes } from "./host/files.ts";
import { loadOpenPgp } from "./host/openpgp.ts";
import { healPointers } from "./host/pointer-store.ts";
import { formatTextIssue } from "./policy/json-text.ts";
import { openReporter } from "./report/reporter.ts";
import type { Settings } from "./settings/settings.ts";
import { openSource } from "./source/open-source.ts";
import { parseRoot } from "./trust/parse-root.ts";
import { MAX_ROOT_BYTES, type Root } from "./trust/root.ts";
import type { OpenPgpCheck } from "./trust/verify-commit.ts";

/**
 * Returns an agent, ready for its first cycle. Reads the root of trust and heals the pointers; touches nothing else.
 * @throws AgentError TRUST_ROOT_INVALID, STATE_CORRUPT, SETTINGS_INVALID
 */
export async function openAgent(settings: Settings, apply: ApplyContext, log: Logger): Promise<Agent> {
  const { paths } = apply;
  for (const note of await healPointers(paths.pointers)) log.warn({ event: "pointer-healed", note });
  const root = await readRoot(settings);
  const checkOpenPgp = await prepareCommitMode(settings, root);
  if (settings.trust.insecure) log.warn({ event: "insecure", reason: "trust.insecure is true: unsigned policies run" });
  if (settings.lifeline.length === 0) {
    const reason =
      "lifeline is empty: nobody behind a client interface reaches the gateway itself, whoever manages it included";
    log.warn({ event: "no-lifeline", reason });
  }
  const source = await openSource(settings.repository, {
    gitFolder: paths.git,
    notice: (notice) => log.warn(notice),
    dnsServers: settings.dns.upstreams,
    dnsPort: settings.dns.upstreamPort,
  });
  const reporter = settings.report.forge === null ? null : await openReporter({ settings, folder: paths.outbox, log });
  return {
    settings,
    paths,
    root,
    checkOpenPgp,
    source,
    apply,
    reporter,
    log,
    memory: { settledCommit: null, last: null },
  };
}

/**
 * Returns the check of OpenPGP signatures when it can be needed.
 * @throws AgentError SETTINGS_INVALID for a threshold that no commit can reach; HOST_MISSING without the OpenPGP library
 */
async function prepareCommitMode({ trust }: Settings, root: Root): Promise<OpenPgpCheck | null> {
  const { threshold } = root.roles.policy;
  if (trust.mode === "manifest") return null;
  if (trust.mode === "commit" && threshold > 1) {
    const text = `trust.mode is "commit", and the root of trust asks for ${threshold} approvals: a commit has one signature`;
    throw new AgentError("SETTINGS_INVALID", text, {
      remedy: 'write "both" or "manifest", or install a root of trust with a policy threshold of 1',
    });
  }
  return root.principals.some(({ openpgp }) => openpgp.length > 0) ? await loadOpenPgp() : null;
}

/** Ends what an agent has open; statuses that wait stay in the outbox. */
export async function closeAgent(agent: Agent): Promise<void> {
  await agent.reporter?.close();
  await agent.source.close();
}

async function readRoot(settings: Settings): Promise<Root> {
  const path = settings.trust.root;
  const result = parseRoot(await readFileBytes(path, MAX_ROOT_BYTES), path);
  if (result.ok) return result.root;
  throw new AgentError("TRUST_ROOT_INVALID", result.issues.map(formatTextIssue).join("\n"), {
    remedy: "install a sound root of trust at trust.root",
  });
}
