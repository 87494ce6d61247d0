import { randomBytes } from "node:crypto";
import { chown, lchown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { CONTROL_KEY_NAME } from "../compile/named-conf.ts";
import type { Canaries } from "../compile/release.ts";
import { type ZoneFile, zoneFiles } from "../compile/zone-files.ts";
import { AgentError } from "../errors.ts";
import { checkNamed, findStaleZones, type NamedHealth } from "../gate/named-check.ts";
import { openUpstream, type Upstream } from "../gate/upstream.ts";
import { monotonicMs, nowMs, sleepMs } from "../host/clock.ts";
import { findDaemon, stopDaemon } from "../host/daemon.ts";
import { readFileBytes, readFileIfAny, replaceFile } from "../host/files.ts";
import { tellNamed } from "../host/named-control.ts";
import { run, runChecked } from "../host/run.ts";
import { allDone } from "./all-done.ts";
import type { ApplyContext } from "./context.ts";
import { lastWords, launchDaemon } from "./daemons.ts";
import type { StoredRelease } from "./release-store.ts";

const RNDC_TIMEOUT_MS = 10_000;
const MAX_KEY_BYTES = 4096;
const CHECK_TIMEOUT_MS = 60_000;
/** 100,000 names load in 1.7 s, a million in 18 s (BIND 9.18, two cores). */
const LOAD_TIMEOUT_MS = 60_000;
const STOP_GRACE_MS = 3_000;
const ASK_TIMEOUT_MS = 1_000;
const POLL_MS = 3;
const MAX_FILE_BYTES = 256 * 1024 * 1024;

const FILES_AT_ONCE = 8;
/** Of more zones than this, named is told to look at all of them. */
const MAX_SINGLE_RELOADS = 4;
const CONFIGURATION = "named.conf";
/** As seen from the folder that named is started in. */
const CONFIGURATION_PATH = `../${CONFIGURATION}`;

/**
 * Swap, part a: gives named the zones of a release and waits until it answers by them: the canaries of the allow and
 * block zones are this release's, and the denied canary is denied by the deny zone. Starts named when it does not run,
 * and starts it again when its configuration differs. What the files say is no proof of what named has loaded: an agent may have been
 * killed between the two, so named is asked.
 * @throws AgentError HOST_SERVICE, APPLY_READBACK
 */
export async function publishZones(context: ApplyContext, release: StoredRelease, canaries: Canaries): Promise<void> {
  await prepareFolder(context);
  // Ended before its file is replaced: a named that runs always has the configuration that is there.
  if (await differsFromRelease(context, release, CONFIGURATION))
    await stopDaemon(context.paths.namedPid, STOP_GRACE_MS);
  await withNamed(context, async (upstream) => {
    const isRunning = (await findDaemon(context.paths.namedPid)) !== null;
    const published = publishFiles(context, release, canaries);
    // What named has loaded does not depend on its files, so it is asked meanwhile.
    const stale = isRunning ? findStaleZones(upstream, canaries) : Promise.resolve(null);
    await allDone([published, stale]);
    await bringUp(context, upstream, canaries, await stale);
  });
}

async function publishFiles(context: ApplyContext, release: StoredRelease, canaries: Canaries): Promise<void> {
  const files = zoneFiles({ isSharded: canaries.shardCanaries !== undefined }).map(({ file }) => file);
  for (let first = 0; first < files.length; first += FILES_AT_ONCE) {
    await allDone(files.slice(first, first + FILES_AT_ONCE).map((name) => publishFile(context, release, name)));
  }
  // Last: a configuration that names a zone is only there when the zone is.
  await publishFile(context, release, CONFIGURATION);
}

async function publishFile(context: ApplyContext, release: StoredRelease, name: string): Promise<void> {
  const { paths } = context;
  if (await differsFromRelease(context, release, name))
    await replaceFile(join(paths.named, name), await readArtifact(release, name));
}

/**
 * Gives named a zone's file once more and has it loaded, whatever its canary says: somebody may have written into it.
 * @throws AgentError HOST_*
 */
export async function publishAgain(context: ApplyContext, release: StoredRelease, zone: ZoneFile): Promise<void> {
  await publishFile(context, release, zone.file);
  await rndc(context, "reload", zone.zone);
}

/**
 * Returns whether named answers by the release with these canaries and by no other. The gate's own view is not enough: it
 * takes the zones of a release that is only prepared as well.
 */
export async function readBackZones(context: ApplyContext, canaries: Canaries): Promise<NamedHealth> {
  return await withNamed(context, (upstream) => checkNamed(upstream, [canaries]));
}

async function withNamed<Result>(
  { settings }: ApplyContext,
  work: (upstream: Upstream) => Promise<Result>,
): Promise<Result> {
  const upstream = await openUpstream({
    address: "127.0.0.1",
    port: settings.dns.namedPort,
    timeoutMs: ASK_TIMEOUT_MS,
    maxInFlight: 64,
  });
  try {
    return await work(upstream);
  } finally {
    upstream.close();
  }
}

async function readArtifact(release: StoredRelease, name: string): Promise<Buffer> {
  return await readFileBytes(join(release.folder, name), MAX_FILE_BYTES);
}

/** Returns whether a file that named is given is another one than the release's. @throws AgentError HOST_FILE */
export async function differsFromRelease(
  { paths, digests }: Pick<ApplyContext, "paths" | "digests">,
  release: StoredRelease,
  name: string,
): Promise<boolean> {
  const present = await digests.of(join(paths.named, name), MAX_FILE_BYTES);
  return present === null || present !== (await digests.of(join(release.folder, name), MAX_FILE_BYTES));
}

/**
 * Starts named again when it does not run, with the zones that it had; before the first release there are none. Returns whether it had to be started; whether it
 * enforces is what the gate asks it before it serves anybody.
 * @throws AgentError HOST_SERVICE
 */
export async function ensureNamed(context: ApplyContext): Promise<boolean> {
  const { named, namedPid } = context.paths;
  if ((await findDaemon(namedPid)) !== null) return false;
  if ((await readFileIfAny(join(named, CONFIGURATION), MAX_FILE_BYTES)) === null) return false;
  await startNamed(context);
  return true;
}

/** `stale`: the zones that a running named has otherwise; null when it has not answered, or does not run. */
async function bringUp(
  context: ApplyContext,
  upstream: Upstream,
  canaries: Canaries,
  stale: readonly string[] | null,
): Promise<void> {
  const { paths, log } = context;
  if ((await findDaemon(paths.namedPid)) === null) {
    await checkConfiguration(context);
    await startNamed(context);
    log.info({ event: "named-started", pid: await findDaemon(paths.namedPid) });
  } else if (stale !== null && stale.length > 0 && stale.length <= MAX_SINGLE_RELOADS) {
    // A zone of a long list is loaded alone, so that a change of one name costs as much as a short list. The others were right
    // just now, and reading back asks for them all.
    await allDone(stale.map((zone) => rndc(context, "reload", zone)));
    return await awaitCanaries(context, upstream, canaries, stale);
  } else if (!(await checkNamed(upstream, [canaries])).ok) await rndc(context, "reload");
  await awaitCanaries(context, upstream, canaries);
}

/**
 * What named is started with lies in a folder of root's: named reads it as root before it drops to its user, so a named
 * that was taken over must not be able to change it. Below it is the folder for its own files. The secret of rndc is made once.
 */
async function prepareFolder({ paths, users }: ApplyContext): Promise<void> {
  await mkdir(paths.named, { recursive: true });
  await chown(paths.named, 0, 0);
  await mkdir(paths.namedWork, { recursive: true });
  await lchown(paths.namedWork, users.named.uid, users.named.gid);
  if ((await readFileIfAny(paths.rndcKey, MAX_KEY_BYTES)) !== null) return;
  const secret = randomBytes(32).toString("base64");
  const key = `key "${CONTROL_KEY_NAME}" {\n\talgorithm hmac-sha256;\n\tsecret "${secret}";\n};\n`;
  await replaceFile(paths.rndcKey, key, 0o640);
  await chown(paths.rndcKey, 0, users.named.gid);
}

async function checkConfiguration({ paths }: ApplyContext): Promise<void> {
  const result = await run(["named-checkconf", CONFIGURATION_PATH], {
    cwd: paths.namedWork,
    timeoutMs: CHECK_TIMEOUT_MS,
  });
  if (result.exitCode === 0) return;
  throw new AgentError(
    "APPLY_CHECK_FAILED",
    `named-checkconf: ${(result.stdout + result.stderr).trim().slice(0, 500)}`,
  );
}

async function startNamed(context: ApplyContext): Promise<void> {
  const { paths, settings, users } = context;
  const user = settings.dns.user;
  // named drops to a user by name only; a numeric id is taken before it starts, and its port is above 1023.
  const isNumber = /^[0-9]+$/.test(user);
  const drop = ["setpriv", `--reuid=${users.named.uid}`, `--regid=${users.named.gid}`, "--clear-groups"] as const;
  const dropsItself = settings.driver === "process" && !isNumber;
  await launchDaemon(context, "named", {
    user: users.named,
    program: ["named", ...(dropsItself ? ["-u", user] : []), "-f", "-c", CONFIGURATION_PATH],
    confine: isNumber ? drop : [],
    cwd: paths.namedWork,
  });
}

/** Starting rndc takes a large agent 30 ms, of which it can do nothing else for 10; it has the last word all the same. */
async function rndc({ paths, settings, log }: ApplyContext, ...command: readonly string[]): Promise<void> {
  const port = settings.dns.controlPort;
  try {
    const key = (await readFileBytes(paths.rndcKey, MAX_KEY_BYTES)).toString("latin1");
    const secret = Buffer.from(/secret "([^"]+)"/.exec(key)?.[1] ?? "", "base64");
    return await tellNamed({ port, secret, timeoutMs: RNDC_TIMEOUT_MS }, command.join(" "), Math.floor(nowMs() / 1000));
  } catch (error) {
    log.warn({ event: "named-by-rndc", reason: (error as Error).message });
  }
  await runChecked(["rndc", "-s", "127.0.0.1", "-p", String(port), "-k", paths.rndcKey, ...command], {
    timeoutMs: RNDC_TIMEOUT_MS,
  });
}

/** `rndc reload` says 0 for a zone that does not load, and named serves before its zones are loaded: only answers prove it. */
async function awaitCanaries(
  context: ApplyContext,
  upstream: Upstream,
  canaries: Canaries,
  only: readonly string[] | null = null,
): Promise<void> {
  const { paths } = context;
  const endMs = monotonicMs() + LOAD_TIMEOUT_MS;
  const remedy = `see ${join(paths.namedWork, "named.log")}; ${lastWords(context, "named")}`;
  for (;;) {
    const state = await checkNamed(upstream, [canaries], only);
    if (state.ok) return;
    if ((await findDaemon(paths.namedPid)) === null) {
      throw new AgentError("HOST_SERVICE", "named ended while it loaded the zones", { remedy });
    }
    if (monotonicMs() > endMs) throw new AgentError("APPLY_READBACK", state.detail, { remedy });
    await sleepMs(POLL_MS);
  }
}
