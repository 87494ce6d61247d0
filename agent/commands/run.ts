import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { rm } from "node:fs/promises";
import type { Agent } from "../agent.ts";
import { startEnforcing } from "../apply/start-enforcing.ts";
import type { RunStep } from "../apply/step.ts";
import { endBreakGlass, resumeBreakGlass } from "../control/break-glass.ts";
import { type Cycles, createCycles } from "../control/cycles.ts";
import { createLiveness, MAX_LOOK_MS, maxCycleMs } from "../control/liveness.ts";
import { type PollSchedule, parsePollSchedule, workOnSchedule } from "../control/poll-schedule.ts";
import { serveAgent } from "../control/serve-agent.ts";
import { checkDriver, keepAlive, tellManager } from "../control/service-state.ts";
import { watch } from "../control/watch.ts";
import { watchApi, watchCaps, watchHours, watchPacketLog, watchServices } from "../control/watch-parts.ts";
import { watchDrift, watchReverts, watchTables } from "../control/watch-rules.ts";
import { AgentError } from "../errors.ts";
import { createTally, type Tally } from "../gate/tally.ts";
import { monotonicMs, nowMs, sleepMs } from "../host/clock.ts";
import { createLog } from "../host/log.ts";
import { openServiceManager, type ServiceManager } from "../host/service-manager.ts";
import { lockInstance } from "../host/single-instance.ts";
import { findUser } from "../host/users.ts";
import { openApplyContext } from "../open-apply-context.ts";
import { doRequest } from "../operator/do-request.ts";
import { answerRequests } from "../operator/requests.ts";
import { keepProxyRecords } from "../report/keep-proxy-records.ts";
import { tryWriteStatus } from "../report/status-file.ts";
import { tellClosed } from "../report/tell-restored.ts";
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

const REQUEST_RETRY_MS = 1_000;
const BREAK_GLASS_RETRY_MS = 2_000;
/** Everything below that waits to be told to stop. */
const MAX_WATCHERS = 32;

/**
 * Runs the agent until SIGTERM or SIGINT: enforces what was confirmed, does one cycle at once and then on schedule, and
 * starts the gate, named and the proxy again whenever one ends. They and the rules stay when the agent goes.
 * @throws AgentError SETTINGS_INVALID, STATE_*, HOST_*
 */
export async function runAgent(options: RunOptions, _output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const schedule = parsePollSchedule(settings.poll.schedule);
  if (schedule === null) {
    throw new AgentError("SETTINGS_INVALID", `poll.schedule is no cron expression: ${settings.poll.schedule}`, {
      remedy: 'write five or six fields, such as "*/30 * * * * *" for every 30 seconds',
    });
  }
  const log = createLog("agent");
  const manager = await openServiceManager();
  checkDriver(settings, manager);
  const lock = await lockInstance(pathsOf(settings).agentLock);
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  stop.signal.addEventListener("abort", () => manager.stopping());
  setMaxListeners(MAX_WATCHERS, stop.signal);
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
      await tryWriteStatus(agent);
      await keepRunning(agent, schedule, manager, stop.signal);
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
async function keepRunning(
  agent: Agent,
  schedule: PollSchedule,
  manager: ServiceManager,
  signal: AbortSignal,
): Promise<void> {
  const { settings, paths } = agent;
  const cycles = createCycles(agent, signal, async () => {
    await tryWriteStatus(agent);
    await tellManager(agent, manager);
    void agent.reporter?.drain(signal).catch((error: Error) => {
      agent.log.warn({ event: "report-failed", reason: error.message });
    });
  });
  const proxyTally = createTally({ epoch: randomUUID(), nowMs });
  const apiUser = (await findUser(settings.api.user)) ?? { uid: 0, gid: 0 };
  const liveness = createLiveness({
    ...{ monotonicMs, cycleSinceMs: cycles.sinceMs },
    ...{ maxLookMs: MAX_LOOK_MS, maxCycleMs: maxCycleMs(settings) },
  });
  const socket = await serveAgent(agent, cycles, proxyTally, apiUser);
  // The rules stand since the start, and whoever asks is answered from here on.
  manager.ready();
  await tellManager(agent, manager);
  try {
    const works = [
      watchDrift,
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
      pollOnSchedule(agent, schedule, cycles, signal),
      followProxy(agent, proxyTally, signal),
      watchTables(agent, signal, liveness),
      keepAlive(agent, manager, liveness, signal),
      ...works.map((work) => work(agent, signal)),
    ]);
  } finally {
    await socket.close();
    await rm(paths.agentSocket, { force: true });
  }
}

/** One cycle at a time: a poll that comes due during a cycle is skipped. Statuses are delivered beside it, never before it. */
async function pollOnSchedule(
  agent: Agent,
  schedule: PollSchedule,
  cycles: Cycles,
  signal: AbortSignal,
): Promise<void> {
  const { jitterMs } = agent.settings.poll;
  // Gateways that start together, after an outage or an upgrade of all, do not ask together.
  await sleepMs(firstPollDelayMs(agent.settings.gateway, jitterMs), signal).catch(() => {
    // Told to stop: the end of this function is near.
  });
  await cycles.runIfDue();
  const poll = (): Promise<void> =>
    cycles.runIfDue().catch((error: Error) => {
      agent.log.error({ event: "schedule-failed", reason: error.message });
    });
  await workOnSchedule(schedule, jitterMs, poll, signal, { nowMs, sleepMs, random: Math.random });
}

/** What operators ask is done within a quarter of a second, in turn with applies. */
async function watchRequests(agent: Agent, signal: AbortSignal): Promise<void> {
  await watch(agent, signal, REQUEST_RETRY_MS, async () => {
    await answerRequests(agent.paths, async (request) => {
      const answer = await doRequest(agent, request);
      await tryWriteStatus(agent);
      return answer;
    });
  });
}

async function watchBreakGlass(agent: Agent, signal: AbortSignal): Promise<void> {
  await watch(agent, signal, BREAK_GLASS_RETRY_MS, async () => {
    if (await endBreakGlass(agent)) await tryWriteStatus(agent);
  });
}

/** For as long as there is a proxy. */
async function followProxy({ settings, paths, log, memory }: Agent, tally: Tally, signal: AbortSignal): Promise<void> {
  const { activity } = memory;
  await keepProxyRecords({ gateway: settings.gateway, paths, log, tally, activity }, signal);
}
