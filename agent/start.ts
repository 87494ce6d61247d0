import type { Logger } from "pino";
import type { Agent } from "./agent.ts";
import type { ApplyContext } from "./apply/context.ts";
import { createFightWatch } from "./apply/fight.ts";
import { createCompileMemory } from "./compile/memory.ts";
import { AgentError } from "./errors.ts";
import { nowMs } from "./host/clock.ts";
import { openPassedClock } from "./host/clock-store.ts";
import { readFileBytes } from "./host/files.ts";
import { loadOpenPgp } from "./host/openpgp.ts";
import { healPointers } from "./host/pointer-store.ts";
import { readRevokedFile } from "./host/revoked-file.ts";
import { createPolicyMemory } from "./policy/policy-memory.ts";
import { createActivity } from "./report/agent-memory.ts";
import { openReporter } from "./report/reporter.ts";
import { recallActivity } from "./report/status-file.ts";
import type { Settings } from "./settings/settings.ts";
import { openSource } from "./source/open-source.ts";
import { openOwnSource } from "./source/own-source.ts";
import { raiseVerified } from "./steps/raise-verified.ts";
import { judgedTime } from "./trust/clock.ts";
import { MAX_ROOT_BYTES, type Root } from "./trust/root.ts";
import { openRoot, type RootInForce } from "./trust/root-chain.ts";

/**
 * Returns an agent, ready for its first cycle. Reads the root of trust and heals the pointers; touches nothing else.
 * @throws AgentError TRUST_ROOT_INVALID, STATE_CORRUPT, SETTINGS_INVALID
 */
export async function openAgent(settings: Settings, apply: ApplyContext, log: Logger): Promise<Agent> {
  const { paths } = apply;
  for (const note of await healPointers(paths.pointers)) log.warn({ event: "pointer-healed", note });
  const installed = await readRoot(settings);
  const clock = await openPassedClock(paths.clock);
  await checkCommitMode(settings, installed.root);
  if (settings.trust.insecure) log.warn({ event: "insecure", reason: "trust.insecure is true: unsigned policies run" });
  if (settings.lifeline.length === 0) {
    const reason =
      "lifeline is empty: nobody behind a client interface reaches the gateway itself, whoever manages it included";
    log.warn({ event: "no-lifeline", reason });
  }
  const { url, branch } = settings.repository;
  const source =
    url === null
      ? openOwnSource(paths.own.repository, branch)
      : await openSource(
          { ...settings.repository, url },
          {
            gitFolder: paths.git,
            notice: (notice) => log.warn(notice),
            dnsServers: settings.dns.upstreams,
            dnsPort: settings.dns.upstreamPort,
          },
        );
  const activity = createActivity(nowMs());
  await recallActivity(paths.status, activity);
  const reporter = settings.report.forge === null ? null : await openReporter({ settings, folder: paths.outbox, log });
  const agent: Agent = {
    ...{ settings, paths, installed, source, apply, reporter, log, clock },
    memory: {
      ...{ settledCommit: null, trust: null, last: null, activity },
      ...{ read: createPolicyMemory(), compiled: createCompileMemory() },
      ...{ fight: createFightWatch(), mayHealOnce: false },
    },
    judgedMs: () => judgedTime(clock.read()),
    readRevoked: () => readRevokedFile(settings.trust.revokedFile),
  };
  await raiseVerified(agent);
  return agent;
}

/**
 * Says at the start what would else be said of every commit.
 * @throws AgentError SETTINGS_INVALID for a threshold that no commit can reach; HOST_MISSING without the OpenPGP library
 */
async function checkCommitMode({ trust }: Settings, root: Root): Promise<void> {
  const { threshold } = root.roles.policy;
  if (trust.mode === "manifest") return;
  if (trust.mode === "commit" && threshold > 1) {
    const text = `trust.mode is "commit", and the root of trust asks for ${threshold} approvals: a commit has one signature`;
    throw new AgentError("SETTINGS_INVALID", text, {
      remedy: 'write "both" or "manifest", or install a root of trust with a policy threshold of 1',
    });
  }
  if (root.principals.some(({ openpgp }) => openpgp.length > 0)) await loadOpenPgp();
}

/** Ends what an agent has open; statuses that wait stay in the outbox. */
export async function closeAgent(agent: Agent): Promise<void> {
  await agent.reporter?.close();
  await agent.source.close();
}

async function readRoot(settings: Settings): Promise<RootInForce> {
  const path = settings.trust.root;
  const result = openRoot(await readFileBytes(path, MAX_ROOT_BYTES), path);
  if ("root" in result) return result;
  throw new AgentError("TRUST_ROOT_INVALID", result.issues.join("\n"), {
    remedy: "install a sound root of trust at trust.root",
  });
}
