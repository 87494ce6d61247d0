import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { schedule, type TaskOptions, validate } from "node-cron";
import type { Agent } from "../agent.ts";
import { ensureApi } from "../apply/api-service.ts";
import type { ApplyContext } from "../apply/context.ts";
import { ensureGate } from "../apply/gate-service.ts";
import { guardTables } from "../apply/guard-tables.ts";
import { readLifeline } from "../apply/lifeline-note.ts";
import { ensureNamed } from "../apply/named-service.ts";
import { ensurePacketLog, stopPacketLog } from "../apply/packet-log-service.ts";
import { createProxyRetimer } from "../apply/proxy-retimer.ts";
import { ensureProxy, isProxyDue, readProxyState, tellSpentCaps } from "../apply/proxy-service.ts";
import { enforceConfirmed, hasUnfinished, settleConfirmed, startEnforcing } from "../apply/start-enforcing.ts";
import type { RunStep } from "../apply/step.ts";
import { winTransaction } from "../apply/transaction.ts";
import { endBreakGlass, resumeBreakGlass } from "../control/break-glass.ts";
import { type Cycles, createCycles } from "../control/cycles.ts";
import { serveAgent } from "../control/serve-agent.ts";
import { AgentError, codes, toAgentError } from "../errors.ts";
import { createTally, type Tally } from "../gate/tally.ts";
import { monotonicMs, nowMs, sleepMs } from "../host/clock.ts";
import { findDaemon } from "../host/daemon.ts";
import { createLog } from "../host/log.ts";
import { lockInstance } from "../host/single-instance.ts";
import { findUser } from "../host/users.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { doRequest } from "../operator/do-request.ts";
import { answerRequests } from "../operator/requests.ts";
import { noteDrift, noteRestart } from "../report/agent-memory.ts";
import { keepProxyRecords } from "../report/keep-proxy-records.ts";
import { writeStatusFile } from "../report/status-file.ts";
import { tellClosed, tellRestored } from "../report/tell-restored.ts";
import { tellTimerNote } from "../report/tell-timer-note.ts";
import { pathsOf } from "../settings/paths.ts";
import { firstPollDelayMs } from "../source/poll-pace.ts";
import { closeAgent, openAgent } from "../start.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

export interface RunOptions {
  readonly config: string;
  /** Wraps each step of an apply; no option of the command line gives it. */
  readonly step?: RunStep;
}

const WATCH_MS = 250;
const SERVICE_RETRY_MS = 1_000;
const REVERT_RETRY_MS = 2_000;
/** Each try keeps applies waiting for a moment, and nothing that is enforced waits for ulogd. */
const PACKET_LOG_RETRY_MS = 10_000;
const API_RETRY_MS = 5_000;

/**
 * Runs the agent until SIGTERM or SIGINT: enforces what was confirmed, does one cycle at once and then on schedule, and
 * starts the gate, named and the proxy again whenever one ends. They and the rules stay when the agent goes.
 * @throws AgentError SETTINGS_INVALID, STATE_*, HOST_*
 */
export async function runAgent(options: RunOptions, _output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  if (!validate(settings.poll.schedule)) {
    throw new AgentError("SETTINGS_INVALID", `poll.schedule is no cron expression: ${settings.poll.schedule}`, {
      remedy: 'write five or six fields, such as "*/30 * * * * *" for every 30 seconds',
    });
  }
  const log = createLog("agent");
  const lock = await lockInstance(pathsOf(settings).agentLock);
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  log.info({ event: "agent-started", gateway: settings.gateway, pid: process.pid });
  try {
    const apply = await openApplyContext(settings, options.config, log, options.step);
    // First of all: a root of trust that cannot be read must not keep the rules from being in force.
    const failure = await startEnforcing(apply);
    const agent = await openAgent(settings, apply, log);
    try {
      if (failure !== null) await tellClosed(agent, failure);
      await tellTimerNote(agent);
      await resumeBreakGlass(agent);
      await writeStatus(agent);
      await keepRunning(agent, stop.signal);
    } finally {
      await closeAgent(agent);
    }
  } finally {
    await lock.release();
    log.info({ event: "agent-stopped" });
  }
  return 0;
}

/** All that the agent looks after, until it is told to stop. */
async function keepRunning(agent: Agent, signal: AbortSignal): Promise<void> {
  const { settings, paths } = agent;
  const cycles = createCycles(agent, signal, async () => {
    await writeStatus(agent);
    void agent.reporter?.drain(signal).catch((error: Error) => {
      agent.log.warn({ event: "report-failed", reason: error.message });
    });
  });
  const proxyTally = createTally({ epoch: randomUUID(), nowMs });
  const apiUser = (await findUser(settings.api.user)) ?? { uid: 0, gid: 0 };
  const socket = await serveAgent(agent, cycles, proxyTally, apiUser);
  try {
    const works = [
      watchTables,
      watchServices,
      watchHours,
      watchReverts,
      watchPacketLog,
      watchRequests,
      watchCaps,
      watchApi,
      watchBreakGlass,
    ];
    await Promise.all([
      pollOnSchedule(agent, cycles, signal),
      followProxy(agent, proxyTally, signal),
      ...works.map((work) => work(agent, signal)),
    ]);
  } finally {
    await socket.close();
    await rm(paths.agentSocket, { force: true });
  }
}

/** One cycle at a time: a poll that comes due during a cycle is skipped. Statuses are delivered beside it, never before it. */
async function pollOnSchedule(agent: Agent, cycles: Cycles, signal: AbortSignal): Promise<void> {
  const { schedule: expression, jitterMs } = agent.settings.poll;
  // Gateways that start together, after an outage or an upgrade of all, do not ask together.
  await sleepMs(firstPollDelayMs(agent.settings.gateway, jitterMs), signal).catch(() => {
    // Told to stop: the end of this function is near.
  });
  await cycles.runIfDue();
  const task = schedule(expression, () => cycles.runIfDue(), {
    ...{ timezone: "UTC", noOverlap: true, maxRandomDelay: jitterMs },
    logger: scheduleLog(agent),
  });
  await untilAborted(signal);
  await task.destroy();
}

async function writeStatus(agent: Agent): Promise<void> {
  await writeStatusFile(agent).catch((error: Error) =>
    agent.log.warn({ event: "status-unwritten", reason: error.message }),
  );
}

/** The tables are what denies: they are put back at once when another tool took them away, though an apply is under way. */
async function watchTables(agent: Agent, signal: AbortSignal): Promise<void> {
  const restore = await guardTables(agent.apply);
  await watch(agent, signal, WATCH_MS, async () => {
    if (!(await restore())) return;
    agent.log.warn({ event: "tables-restored" });
    noteDrift(agent.memory.activity, nowMs());
  });
}

/** The gate and named are in the path of every new name, the proxy in that of TLS: each is started again when it ends. */
async function watchServices(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply, log } = agent;
  const tell = (component: string): void => {
    log.warn({ event: `${component}-restarted` });
    noteRestart(agent.memory.activity, component);
  };
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    if (await restartIfDown(apply, apply.paths.gatePid, ensureGate)) tell("gate");
    if (await restartIfDown(apply, apply.paths.namedPid, ensureNamed)) tell("named");
    if ((await isProxyDue(apply)) && (await apply.inTurn(() => apply.locked(() => ensureProxy(apply))))) tell("proxy");
  });
}

/**
 * The proxy is told which caps are used up, so that it says why it refuses. Without us, it reports a server that cannot
 * be reached instead.
 */
async function watchCaps(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply, log } = agent;
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    if (!(await readProxyState(apply)).isNeeded) return;
    const spent = await apply.gate.spentCaps();
    if (await tellSpentCaps(apply, spent)) log.info({ event: "caps-told", spent: spent.length });
  });
}

/** The kernel and the gate keep hours by themselves; the proxy does not know when a name opens. */
async function watchHours(agent: Agent, signal: AbortSignal): Promise<void> {
  const retime = createProxyRetimer(agent.apply);
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    await retime();
  });
}

/** Looks first without the lock, since it almost always runs; a swap may be starting it again right now. */
async function restartIfDown(
  apply: ApplyContext,
  pidFile: string,
  ensure: (apply: ApplyContext) => Promise<boolean>,
): Promise<boolean> {
  if ((await findDaemon(pidFile)) !== null) return false;
  return await apply.inTurn(() => apply.locked(() => ensure(apply)));
}

/**
 * What could not be ended is tried again until it holds: a revert, a pointer that did not move, a release that is not in
 * force. The head is looked at again then, and when a release is damaged, for its own commit may be what heals it.
 */
async function watchReverts(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply, memory } = agent;
  let said = "";
  await watch(agent, signal, REVERT_RETRY_MS, async () => {
    const failure = await apply.inTurn(() => finishEarlier(agent));
    if (failure?.code === "APPLY_RELEASE_DAMAGED" && failure.message !== said) memory.settledCommit = null;
    said = failure?.message ?? "";
    if (failure !== null) throw failure;
  });
}

async function finishEarlier(agent: Agent): Promise<AgentError | null> {
  const { apply, log, memory } = agent;
  if (!(await hasUnfinished(apply))) return null;
  await settleConfirmed(apply);
  // In turn with applies, so one that is armed is nobody's any more.
  await winTransaction(apply.paths.transaction, "reverting");
  const wasClosed = (await readLifeline(apply.paths.lifeline)) !== null;
  const failure = await apply.locked(() => enforceConfirmed(apply, null));
  if (failure !== null) return failure;
  log.warn({ event: "revert-finished" });
  memory.settledCommit = null;
  if (wasClosed) await tellRestored(agent);
  await writeStatus(agent);
  return null;
}

/** ulogd holds a connection to the gate: a new gate gets a new ulogd, so that not even the first record of it is lost. */
async function watchPacketLog(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply } = agent;
  const { gatePid } = apply.paths;
  let gate = await findDaemon(gatePid);
  // In turn: a gate that is being started serves its sockets by then.
  const follow = async (): Promise<void> => {
    const present = await findDaemon(gatePid);
    if (present === null) return;
    if (gate !== null && present !== gate) await stopPacketLog(apply);
    gate = present;
    await ensurePacketLog(apply);
  };
  await watch(agent, signal, PACKET_LOG_RETRY_MS, () => apply.inTurn(follow));
}

/** What operators ask is done within a quarter of a second, in turn with applies. */
async function watchRequests(agent: Agent, signal: AbortSignal): Promise<void> {
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    await answerRequests(agent.paths, async (request) => {
      const answer = await doRequest(agent, request);
      await writeStatus(agent);
      return answer;
    });
  });
}

/** Nothing that is enforced waits for the API; what it would count waits for it. */
async function watchApi(agent: Agent, signal: AbortSignal): Promise<void> {
  let startedMs = Number.NEGATIVE_INFINITY;
  await watch(agent, signal, API_RETRY_MS, async () => {
    // One that ends as soon as it starts is not started all the time.
    if (monotonicMs() - startedMs < API_RETRY_MS || !(await ensureApi(agent.apply))) return;
    if (startedMs > Number.NEGATIVE_INFINITY) noteRestart(agent.memory.activity, "api");
    startedMs = monotonicMs();
  });
}

async function watchBreakGlass(agent: Agent, signal: AbortSignal): Promise<void> {
  await watch(agent, signal, REVERT_RETRY_MS, async () => {
    if (await endBreakGlass(agent)) await writeStatus(agent);
  });
}

/** Looks after something four times a second, less often while it fails; what goes wrong is logged when it is something new. */
async function watch(agent: Agent, signal: AbortSignal, retryMs: number, look: () => Promise<void>): Promise<void> {
  let said = "";
  while (!signal.aborted) {
    let waitMs = WATCH_MS;
    try {
      await look();
      said = "";
    } catch (error) {
      const { code, message } = toAgentError(error, "HOST_SERVICE", "a part does not come back");
      if (message !== said) agent.log.error({ event: "part-down", code, reason: message, next: codes[code].response });
      said = message;
      waitMs = retryMs;
    }
    await sleepMs(waitMs, signal).catch(() => {
      // Told to stop: the loop's condition ends it.
    });
  }
}

/** For as long as there is a proxy. */
async function followProxy({ settings, paths, log }: Agent, tally: Tally, signal: AbortSignal): Promise<void> {
  await keepProxyRecords({ gateway: settings.gateway, paths, log, tally }, signal);
}

/** A poll that is skipped because a cycle takes longer than the schedule is nothing to worry a person with. */
function scheduleLog({ log }: Agent): NonNullable<TaskOptions["logger"]> {
  const debug = (message: string | Error): void => log.debug({ event: "schedule", message: String(message) });
  const error = (message: string | Error): void => log.error({ event: "schedule-failed", message: String(message) });
  return { info: debug, warn: debug, debug, error };
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
