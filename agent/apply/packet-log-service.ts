import { renderUlogdConf } from "../compile/ulogd-conf.ts";
import { AgentError, toAgentError } from "../errors.ts";
import { sleepMs } from "../host/clock.ts";
import { findDaemon, stopDaemon } from "../host/daemon.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { ApplyContext } from "./context.ts";
import { launchDaemon } from "./daemons.ts";

/** What makes ulogd end does so within a few milliseconds: a socket that nobody serves, a group that another one reads. */
const SETTLE_MS = 150;
const STOP_GRACE_MS = 1_000;
const MAX_CONF_BYTES = 64 * 1024;

/**
 * Starts our own ulogd when it does not run, or runs by another configuration: it hands the gate what the kernel logs of
 * refused packets. It runs as the gate's user, with CAP_NET_ADMIN and nothing else; who holds that rules the packet
 * filter, so another user would part nothing. Returns whether it had to be started. Without it nothing is open that
 * would be closed; only the records of packets are missing, and the counters are right.
 * @throws AgentError HOST_SERVICE
 */
export async function ensurePacketLog(context: ApplyContext): Promise<boolean> {
  const { paths, users, log } = context;
  const text = renderUlogdConf({ socketPath: paths.packetSocket });
  const present = await readFileIfAny(paths.packetLogConf, MAX_CONF_BYTES);
  const isCurrent = present?.equals(Buffer.from(text)) ?? false;
  if (isCurrent && (await findDaemon(paths.packetLogPid)) !== null) return false;
  await stopDaemon(paths.packetLogPid, STOP_GRACE_MS);
  if (!isCurrent) await replaceFile(paths.packetLogConf, text);
  // Only the last start's words: a file that each start adds to would have no bound.
  await replaceFile(paths.packetLogOutput, "", 0o640);
  const { uid, gid } = users.gate;
  const confine = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--no-new-privs"] as const;
  const capabilities = ["--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"] as const;
  await launchDaemon(context, "ulogd", {
    user: users.gate,
    program: ["ulogd", "--configfile", paths.packetLogConf],
    confine: [...confine, ...capabilities],
    cwd: "/",
  });
  await sleepMs(SETTLE_MS);
  const pid = await findDaemon(paths.packetLogPid);
  if (pid === null) {
    throw new AgentError("HOST_SERVICE", "ulogd ended while it started: refused packets are counted, not recorded", {
      remedy: `install ulogd2 and ulogd2-json; to see why it ends, run ulogd --loglevel 3 --configfile ${paths.packetLogConf}`,
    });
  }
  log.info({ event: "packet-log-started", pid });
  return true;
}

/** Ends ulogd: its next start connects to the gate that runs by then. */
export async function stopPacketLog({ paths }: ApplyContext): Promise<void> {
  await stopDaemon(paths.packetLogPid, STOP_GRACE_MS);
}

/** Starts ulogd as `ensurePacketLog` does, and logs why it cannot: nothing that is enforced waits for it. */
export async function tryPacketLog(context: ApplyContext): Promise<void> {
  try {
    await ensurePacketLog(context);
  } catch (error) {
    const { code, message, remedy } = toAgentError(error, "HOST_SERVICE", "ulogd does not start");
    context.log.warn({ event: "packet-log-down", code, reason: message, remedy });
  }
}
