import type { Agent } from "../agent.ts";
import { ensureApi } from "../apply/api-service.ts";
import type { ApplyContext } from "../apply/context.ts";
import { ensureGate } from "../apply/gate-service.ts";
import { ensureNamed } from "../apply/named-service.ts";
import { ensurePacketLog, stopPacketLog } from "../apply/packet-log-service.ts";
import { createProxyRetimer } from "../apply/proxy-retimer.ts";
import { ensureProxy, isProxyDue, readProxyState, tellSpentCaps } from "../apply/proxy-service.ts";
import { monotonicMs } from "../host/clock.ts";
import { findDaemon } from "../host/daemon.ts";
import { noteRestart } from "../report/agent-memory.ts";
import { watch } from "./watch.ts";

const SERVICE_RETRY_MS = 1_000;
/** Each try keeps applies waiting for a moment, and nothing that is enforced waits for ulogd. */
const PACKET_LOG_RETRY_MS = 10_000;
const API_RETRY_MS = 5_000;

/** The gate and named are in the path of every new name, the proxy in that of TLS: each is started again when it ends. */
export async function watchServices(agent: Agent, signal: AbortSignal): Promise<void> {
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
 * The proxy is told which caps are used up, so that it says why it refuses. Without us, it reports a server that cannot
 * be reached instead.
 */
export async function watchCaps(agent: Agent, signal: AbortSignal): Promise<void> {
  const { apply, log } = agent;
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    if (!(await readProxyState(apply)).isNeeded) return;
    const spent = await apply.gate.spentCaps();
    if (await tellSpentCaps(apply, spent)) log.info({ event: "caps-told", spent: spent.length });
  });
}

/** The kernel and the gate keep hours by themselves; the proxy does not know when a name opens. */
export async function watchHours(agent: Agent, signal: AbortSignal): Promise<void> {
  const retime = createProxyRetimer(agent.apply);
  await watch(agent, signal, SERVICE_RETRY_MS, async () => {
    await retime();
  });
}

/** ulogd holds a connection to the gate: a new gate gets a new ulogd, so that not even the first record of it is lost. */
export async function watchPacketLog(agent: Agent, signal: AbortSignal): Promise<void> {
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

/** Nothing that is enforced waits for the API; what it would count waits for it. */
export async function watchApi(agent: Agent, signal: AbortSignal): Promise<void> {
  let startedMs = Number.NEGATIVE_INFINITY;
  await watch(agent, signal, API_RETRY_MS, async () => {
    // One that ends as soon as it starts is not started all the time.
    if (monotonicMs() - startedMs < API_RETRY_MS || !(await ensureApi(agent.apply))) return;
    if (startedMs > Number.NEGATIVE_INFINITY) noteRestart(agent.memory.activity, "api");
    startedMs = monotonicMs();
  });
}
