import { join } from "node:path";
import { readBreakGlass } from "../apply/break-glass-note.ts";
import { readHold } from "../apply/hold-notes.ts";
import { readTableHandles } from "../apply/kernel.ts";
import { readLifeline } from "../apply/lifeline-note.ts";
import { readProxyState } from "../apply/proxy-service.ts";
import type { Provenance } from "../compile/release.ts";
import { createGateControl, type GateStatus } from "../gate/control-client.ts";
import { nowMs } from "../host/clock.ts";
import { findDaemon } from "../host/daemon.ts";
import { readFileIfAny } from "../host/files.ts";
import { findSocket } from "../host/find-socket.ts";
import { readPointers } from "../host/pointer-store.ts";
import { findUser } from "../host/users.ts";
import { pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import type { GatewayStatus, StatusTimes } from "./gateway-status.ts";
import { type AgentStatus, readStatusFile } from "./status-file.ts";

const MAX_PROVENANCE_BYTES = 1024 * 1024;

/** Returns what this gateway is at this moment, whether its agent runs or not. Needs root. @throws AgentError STATE_CORRUPT, HOST_FILE */
export async function readGatewayStatus(settings: Settings): Promise<GatewayStatus> {
  const paths = pathsOf(settings);
  const { verified, confirmed, notes } = await readPointers(paths.pointers);
  const [agent, suspended, lifeline, breakGlass, proxy, gate, tables, approvedBy] = await Promise.all([
    readStatusFile(paths.status),
    readHold(paths.suspended),
    readLifeline(paths.lifeline),
    readBreakGlass(paths.breakGlass),
    readProxyState({ paths }),
    askGate(paths.gateSocket),
    readTables(),
    readApprovers(paths.releases, confirmed.release),
  ]);
  const [named, ulogd, api, agentPid] = await Promise.all([
    findDaemon(paths.namedPid),
    findDaemon(paths.packetLogPid),
    findDaemon(paths.apiPid),
    findAgent(agent, paths.agentSocket),
  ]);
  const hasProxy = !proxy.isNeeded || proxy.pid !== null;
  const inForce = breakGlass?.release ?? confirmed.release;
  const serves = lifeline === null && gate?.ready === true && gate.digest === inForce && hasProxy;
  const facts = {
    version: 1 as const,
    ok: serves,
    gateway: settings.gateway,
    state: lifeline === null ? (serves ? ("enforcing" as const) : ("not-serving" as const)) : lifeline.state,
    insecure: settings.trust.insecure,
    repository: pickRepository(settings),
    confirmed: { ...confirmed, approvedBy },
    verified,
    pending: pendingOf(agent, confirmed.commit),
    times: timesOf(agent, verified.at, confirmed.at),
    stale: isStale(settings, agent),
    drift: agent?.drift ?? { restored: 0, lastAt: null, held: null },
    audited: gate?.audited ?? [],
    ...{ breakGlass, lifeline, suspended, trust: agent?.trust ?? null },
    ...{ agent: { pid: agentPid }, named: { pid: named }, ulogd: { pid: ulogd }, api: { pid: api } },
    proxy: { pid: proxy.pid, isNeeded: proxy.isNeeded },
    ...{ tables, gate },
    last: agent?.last ?? null,
    counts: agent?.counts ?? null,
    notes,
  };
  return { ...facts, degraded: findDegraded(facts, await findWhyNoApi(settings.api.user)) };
}

async function findWhyNoApi(user: string): Promise<string> {
  return (await findUser(user)) === null ? `; there is no user ${user} (api.user)` : "";
}

function pickRepository({ repository: { url, branch, name } }: Settings): GatewayStatus["repository"] {
  return { url, branch, name };
}

async function askGate(socket: string): Promise<GateStatus | null> {
  try {
    return await createGateControl(socket).status();
  } catch {
    // Not answering is an answer here.
    return null;
  }
}

async function readTables(): Promise<GatewayStatus["tables"]> {
  const handles = await readTableHandles().catch(() => ({ base: null, policy: null }));
  return { base: handles.base !== null, policy: handles.policy !== null };
}

async function readApprovers(releases: string, release: string | null): Promise<readonly string[]> {
  if (release === null) return [];
  const bytes = await readFileIfAny(join(releases, release, "provenance.json"), MAX_PROVENANCE_BYTES);
  try {
    return (JSON.parse(bytes?.toString("utf8") ?? "") as Provenance).approvedBy;
  } catch {
    // A damaged release is told of elsewhere.
    return [];
  }
}

/** The agent has no pid file: it runs while it answers, and its status has its pid. */
async function findAgent(agent: AgentStatus | null, socket: string): Promise<number | null> {
  return agent !== null && (await findSocket(socket)) ? agent.pid : null;
}

/** A head that was looked at and did not come into force. */
function pendingOf(agent: AgentStatus | null, confirmed: string | null): GatewayStatus["pending"] {
  const news = agent?.news ?? null;
  if (news === null || news.code === null || news.commit === null) return null;
  return news.commit === agent?.head && news.commit !== confirmed ? news : null;
}

function timesOf(agent: AgentStatus | null, verifiedAt: string | null, confirmedAt: string | null): StatusTimes {
  return {
    lastPoll: agent?.polledAt ?? null,
    lastChange: agent?.changedAt ?? null,
    lastVerified: verifiedAt,
    lastApplied: confirmedAt,
  };
}

function isStale({ poll }: Settings, agent: AgentStatus | null): boolean {
  const polledAtMs = Date.parse(agent?.polledAt ?? "");
  return Number.isNaN(polledAtMs) || nowMs() - polledAtMs > poll.staleAfterMs;
}

/** Returns what is wrong, what denies most first. */
function findDegraded(facts: Omit<GatewayStatus, "degraded">, whyNoApi: string): readonly string[] {
  const { lifeline, confirmed, gate, proxy, pending, breakGlass, times } = facts;
  const found: readonly (readonly [isSo: boolean, text: string])[] = [
    [lifeline !== null, `only the lifeline is open since ${lifeline?.since}: ${lifeline?.code}: ${lifeline?.message}`],
    [!facts.tables.base || !facts.tables.policy, "a table of rules is missing"],
    [confirmed.release === null, "no policy was confirmed yet: everything but the lifeline is denied"],
    [gate === null, "the DNS gate does not answer: no client resolves anything"],
    [gate !== null && !gate.named.ok, `named is not proved to enforce the policy: ${gate?.named.detail}`],
    [gate !== null && breakGlass === null && gate.digest !== confirmed.release, "the gate has another release"],
    [facts.named.pid === null, "named does not run"],
    [proxy.isNeeded && proxy.pid === null, "the proxy does not run: 443 and 80 are closed"],
    [facts.ulogd.pid === null, "ulogd does not run: refused packets are counted, not recorded"],
    [facts.agent.pid === null, "the agent does not run: nothing changes, and nothing is repaired"],
    [
      facts.agent.pid !== null && facts.api.pid === null,
      `the API's process does not run: decisions wait to be stored${whyNoApi}`,
    ],
    [
      facts.drift.held !== null,
      `somebody changed what is enforced, and drift.response leaves it so until \`clawgress resume\`: ${facts.drift.held}`,
    ],
    [facts.stale, `no poll has succeeded since ${times.lastPoll ?? "the start"}`],
    [pending !== null, `commit ${pending?.commit} is not in force: ${pending?.outcome}, ${pending?.code}`],
    [breakGlass !== null, `a policy that nobody approved is in force until ${breakGlass?.until}`],
    [facts.suspended !== null, `suspended by ${facts.suspended?.by}: nothing new is applied`],
    ...(facts.trust?.alarms ?? []).map(({ code, message }) => [true, `${code}: ${message}`] as const),
    [facts.insecure, "unsigned policies run"],
  ];
  return found.flatMap(([isSo, text]) => (isSo ? [text] : []));
}
