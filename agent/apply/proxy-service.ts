import { chown, mkdir, rm, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { relayAddress } from "../compile/byte-caps.ts";
import { PROXY_CONF } from "../compile/haproxy.ts";
import { ABOUT_MAP, OWN_MAP, proxyMaps, SPENT_MAP } from "../compile/proxy-maps.ts";
import type { Provenance } from "../compile/release.ts";
import { AgentError } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { findDaemon, stopDaemon } from "../host/daemon.ts";
import { readFileBytes, readFileIfAny, replaceFile } from "../host/files.ts";
import { suffixesOf } from "../policy/name-table.ts";
import type { Policy } from "../policy/policy.ts";
import { needsProxy } from "../policy/proxied.ts";
import type { Instant } from "../policy/schedules.ts";
import type { ApplyContext } from "./context.ts";
import { lastWords, launchDaemon } from "./daemons.ts";
import { askProxy, changeProxyMap, readProxyMap, replaceProxyMap } from "./proxy-control.ts";
import { endForbiddenFlows } from "./proxy-flows.ts";
import { loosenSteps, type MapStep, tightenSteps, timedSteps, wholeMaps } from "./proxy-map-steps.ts";
import { gateInstant, isOtherMap, isSame, type TimedLines, timedLines } from "./proxy-times.ts";
import type { StoredRelease } from "./release-store.ts";

const START_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 1_000;
const POLL_MS = 10;
const MAX_FILE_BYTES = 256 * 1024 * 1024;
const MAX_SINGLE_CHANGES = 100;
const REUSE_PORTS = "/proc/sys/net/ipv4/tcp_tw_reuse";

/** What tighten and loosen move to. */
export interface ProxyTarget {
  readonly release: StoredRelease;
  readonly policy: Policy;
}

export interface ProxyState {
  readonly pid: number | null;
  readonly isNeeded: boolean;
}

/**
 * Returns when a policy can have the proxy that it needs: found out while it is staged, a missing user costs no rollback.
 * @throws AgentError HOST_MISSING
 */
export function checkProxyUser(context: Pick<ApplyContext, "users" | "settings">, policy: Policy): void {
  if (needsProxy(policy)) proxyUser(context);
}

/**
 * Swap, before the kernel: takes from the running proxy the names that go and gives it the denials that come, so that
 * until the end nothing is open that both releases would not allow. Starts the proxy when it does not run or its configuration is another one. Does nothing
 * for a release without SNI mode.
 * @throws AgentError HOST_MISSING, HOST_SERVICE, APPLY_FAILED
 */
export async function tightenProxy(context: ApplyContext, { release, policy }: ProxyTarget): Promise<void> {
  if (!needsProxy(policy)) return;
  const { paths } = context;
  const wanted = await readFileBytes(join(release.folder, PROXY_CONF), MAX_FILE_BYTES);
  const present = await readFileIfAny(join(paths.proxy, PROXY_CONF), MAX_FILE_BYTES);
  if ((await findDaemon(paths.proxyPid)) === null || present?.equals(wanted) !== true) {
    await stopDaemon(paths.proxyPid, STOP_GRACE_MS);
    await writeFolder(context, release, wanted);
    await startProxy(context);
    return;
  }
  await takeSteps(context, { release, policy }, tightenSteps, await gateInstant(context));
}

/**
 * Swap, after the kernel and the gate: gives the proxy the maps of a release and ends the connections that it no longer
 * allows or that come under a byte cap; the others go on. Stops the proxy for a release without SNI mode.
 * @throws AgentError APPLY_FAILED
 */
export async function loosenProxy(context: ApplyContext, { release, policy }: ProxyTarget): Promise<void> {
  if (!needsProxy(policy)) return await removeProxy(context);
  const at = await gateInstant(context);
  const cameUnderCap = await findNewCaps(context, release);
  await takeSteps(context, { release, policy }, loosenSteps, at);
  await putMap(context, ABOUT_MAP, await aboutLines(release));
  await endForbiddenFlows(context, policy, at, cameUnderCap);
}

/** Returns which names come under another cap with a release: what goes to them now is not counted where it is. */
async function findNewCaps(
  { paths }: Pick<ApplyContext, "paths">,
  release: StoredRelease,
): Promise<(group: string, name: string) => boolean> {
  const current = await readProxyMap(paths.proxySocket, proxyMaps.caps);
  const next = await readLines(release, proxyMaps.caps);
  if (isSame(current, next)) return () => false;
  const lines = new Map([...next].map((line) => [line.slice(0, line.indexOf(" ")), line]));
  return (group, name) => {
    const wildcards = [...suffixesOf(name)].map((suffix) => `${suffix}*@${group}`);
    const key = [`${name}@${group}`, ...wildcards].find((candidate) => lines.has(candidate));
    return key !== undefined && !current.has(lines.get(key) ?? "");
  };
}

/**
 * Gives the proxy what hours have opened or closed by an instant, and ends the connections that they no longer allow.
 * @throws AgentError APPLY_FAILED
 */
export async function retimeProxy(context: ApplyContext, target: ProxyTarget, at: Instant): Promise<void> {
  if ((await findDaemon(context.paths.proxyPid)) === null) return;
  await takeSteps(context, target, timedSteps, at);
  await endForbiddenFlows(context, target.policy, at);
}

/** Stops the proxy, and with it every connection that it carries; it is not started again until a release needs it. */
export async function removeProxy({ paths }: Pick<ApplyContext, "paths">): Promise<void> {
  await rm(join(paths.proxy, PROXY_CONF), { force: true });
  await stopDaemon(paths.proxyPid, STOP_GRACE_MS);
}

/**
 * Starts the proxy again when a release wants it and it does not run, with the maps that it had, and tells it of new
 * addresses of the gateway. Returns whether it had to be started. Meanwhile what it would carry is refused.
 * @throws AgentError HOST_MISSING, HOST_SERVICE, APPLY_FAILED
 */
export async function ensureProxy(context: ApplyContext): Promise<boolean> {
  const { paths } = context;
  const { pid, isNeeded } = await readProxyState(context);
  if (!isNeeded) return false;
  const known = (await readFileIfAny(join(paths.proxy, OWN_MAP), MAX_FILE_BYTES))?.toString("utf8");
  const own = ownAddressLines();
  const isRunning = pid !== null;
  if (isRunning && known !== toText(own)) await putMap(context, OWN_MAP, own);
  if (!isRunning) await startProxy(context);
  return !isRunning;
}

/** Returns whether `ensureProxy` has something to do. It almost never has, so this is asked without the lock. */
export async function isProxyDue(context: Pick<ApplyContext, "paths">): Promise<boolean> {
  const { pid, isNeeded } = await readProxyState(context);
  if (!isNeeded || pid === null) return isNeeded;
  const known = await readFileIfAny(join(context.paths.proxy, OWN_MAP), MAX_FILE_BYTES);
  return known?.toString("utf8") !== toText(ownAddressLines());
}

/** Returns the proxy's pid, or null while it does not run, and whether what is in force needs it. */
export async function readProxyState({ paths }: Pick<ApplyContext, "paths">): Promise<ProxyState> {
  const pid = await findDaemon(paths.proxyPid);
  return { pid, isNeeded: (await readFileIfAny(join(paths.proxy, PROXY_CONF), MAX_FILE_BYTES)) !== null };
}

/** Returns in what the running proxy is not what a release says, or null. */
export async function findProxyDifference(
  context: Pick<ApplyContext, "paths" | "gate">,
  { release, policy }: ProxyTarget,
): Promise<string | null> {
  const { paths } = context;
  const isRunning = (await findDaemon(paths.proxyPid)) !== null;
  if (!needsProxy(policy)) return isRunning ? "the proxy runs, but the release has no SNI mode" : null;
  if (!isRunning) return "the proxy does not run";
  const wanted = await readFileBytes(join(release.folder, PROXY_CONF), MAX_FILE_BYTES);
  const configuration = await readFileIfAny(join(paths.proxy, PROXY_CONF), MAX_FILE_BYTES);
  if (configuration?.equals(wanted) !== true) return "the proxy has another configuration";
  const timed = timedLines(policy, await gateInstant(context));
  for (const map of Object.values(proxyMaps)) {
    const present = await readProxyMap(paths.proxySocket, map);
    if (isOtherMap(map, present, timed.get(map) ?? (await readLines(release, map)))) {
      return `the proxy goes by another ${map}`;
    }
  }
  return null;
}

/**
 * Tells the running proxy which caps are used up: it refuses new connections for them by itself until their period ends.
 * Returns whether that was news. The kernel has refused their packets before.
 * @throws AgentError APPLY_FAILED
 */
export async function tellSpentCaps(
  context: Pick<ApplyContext, "paths">,
  caps: readonly { readonly mark: number; readonly endMs: number }[],
): Promise<boolean> {
  const { paths } = context;
  const { pid, isNeeded } = await readProxyState(context);
  const known = await readFileIfAny(join(paths.proxy, SPENT_MAP), MAX_FILE_BYTES);
  if (!isNeeded || pid === null || known === null) return false;
  const lines = caps.map(({ mark, endMs }) => `${relayAddress(mark)} ${Math.ceil(endMs / 1000)}`);
  if (known.toString("utf8") === toText(lines)) return false;
  await putMap(context, SPENT_MAP, lines);
  return true;
}

/** Root's, but for the folder of the socket, which the proxy makes itself. */
async function writeFolder(context: ApplyContext, release: StoredRelease, configuration: Buffer): Promise<void> {
  const { paths } = context;
  const { uid, gid } = proxyUser(context);
  const control = join(paths.proxySocket, "..");
  await mkdir(control, { recursive: true });
  await chown(control, uid, gid);
  for (const map of Object.values(proxyMaps)) {
    await replaceFile(join(paths.proxy, map), await readFileBytes(join(release.folder, map), MAX_FILE_BYTES));
  }
  await replaceFile(join(paths.proxy, SPENT_MAP), "");
  await replaceFile(join(paths.proxy, ABOUT_MAP), toText(await aboutLines(release)));
  await replaceFile(join(paths.proxy, OWN_MAP), toText(ownAddressLines()));
  await replaceFile(join(paths.proxy, PROXY_CONF), configuration);
}

async function startProxy(context: ApplyContext): Promise<void> {
  const { paths, log } = context;
  const user = proxyUser(context);
  const { uid, gid } = user;
  // Else the proxy has 28,000 ports a minute towards one server: measured, 2,900 new connections a second fell to 100.
  await writeFile(REUSE_PORTS, "1\n");
  const confine = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--no-new-privs"] as const;
  const powerless = ["--inh-caps=-all", "--bounding-set=-all"] as const;
  await launchDaemon(context, "proxy", {
    user,
    program: ["haproxy", "-db", "-q", "-f", PROXY_CONF],
    confine: [...confine, ...powerless],
    cwd: paths.proxy,
  });
  await awaitSocket(context);
  log.info({ event: "proxy-started", pid: await findDaemon(paths.proxyPid) });
}

async function awaitSocket(context: ApplyContext): Promise<void> {
  const { paths } = context;
  const endMs = monotonicMs() + START_TIMEOUT_MS;
  const remedy = lastWords(context, "proxy");
  for (;;) {
    try {
      await askProxy(paths.proxySocket, "show info");
      return;
    } catch (error) {
      if ((await findDaemon(paths.proxyPid)) === null) {
        throw new AgentError("HOST_SERVICE", "the proxy ended while it started", { remedy, cause: error });
      }
      if (monotonicMs() > endMs) throw new AgentError("HOST_SERVICE", (error as Error).message, { remedy });
      await sleepMs(POLL_MS);
    }
  }
}

async function takeSteps(
  context: ApplyContext,
  { release, policy }: ProxyTarget,
  steps: readonly MapStep[],
  at: Instant,
): Promise<void> {
  const timed: TimedLines = timedLines(policy, at);
  for (const { map, toLines } of steps) {
    const current = await readProxyMap(context.paths.proxySocket, map);
    const lines = toLines(current, timed.get(map) ?? (await readLines(release, map)));
    if (isSame(current, lines)) continue;
    if (wholeMaps.has(map)) await putMap(context, map, [...lines]);
    else await putKeys(context, map, current, lines);
  }
}

/** The file first: a proxy that dies in between starts again with what it was about to get. */
async function putMap({ paths }: Pick<ApplyContext, "paths">, map: string, lines: readonly string[]): Promise<void> {
  await replaceFile(join(paths.proxy, map), toText(lines));
  await replaceProxyMap(paths.proxySocket, map, lines);
}

/** A map of keys only loses or only gains lines at a time, so a few may go one by one: a whole one of 100,000 takes 0.4 s. */
async function putKeys(
  { paths }: ApplyContext,
  map: string,
  current: ReadonlySet<string>,
  next: ReadonlySet<string>,
): Promise<void> {
  const removed = [...current].filter((line) => !next.has(line));
  const added = [...next].filter((line) => !current.has(line));
  await replaceFile(join(paths.proxy, map), toText([...next]));
  if (removed.length + added.length > MAX_SINGLE_CHANGES) await replaceProxyMap(paths.proxySocket, map, next);
  else await changeProxyMap(paths.proxySocket, map, { removed, added });
}

async function readLines(release: StoredRelease, map: string): Promise<ReadonlySet<string>> {
  const text = (await readFileBytes(join(release.folder, map), MAX_FILE_BYTES)).toString("utf8");
  return new Set(text.split("\n").filter((line) => line !== ""));
}

async function aboutLines(release: StoredRelease): Promise<readonly string[]> {
  const bytes = await readFileBytes(join(release.folder, "provenance.json"), MAX_FILE_BYTES);
  const { commit, serial } = JSON.parse(bytes.toString("utf8")) as Provenance;
  if (!/^[0-9a-f]{7,64}$/.test(commit) || !Number.isSafeInteger(serial)) return [];
  return [`commit ${commit}`, `serial ${serial}`, `release ${release.digest}`];
}

/** What answers on the gateway itself is no place to be led to by a name. */
function ownAddressLines(): readonly string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  // A link-local address carries its interface, which is no part of what an answer can say.
  const addresses = all.map(({ address }) => address).filter((address) => !address.includes("%"));
  return [...new Set(addresses)].sort().map((address) => `${address} 1`);
}

function toText(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

function proxyUser({ users, settings }: Pick<ApplyContext, "users" | "settings">): {
  readonly uid: number;
  readonly gid: number;
} {
  if (users.proxy !== null) return users.proxy;
  const { user } = settings.proxy;
  throw new AgentError("HOST_MISSING", `the policy needs the proxy, but there is no user ${user}`, {
    remedy: `make it (adduser --system ${user}) or name another as proxy.user in agent.json, and start the agent again`,
  });
}
