import { chown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { findDaemon, startDaemon } from "../host/daemon.ts";
import type { ApplyContext } from "./context.ts";

/** Node's start with the policy of 100,000 names, on a busy machine. */
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 10;

/**
 * Starts the DNS gate when it does not run, as a user of its own with CAP_NET_ADMIN and nothing else, and waits until its
 * control socket answers. Returns whether it had to be started. It goes on without the agent; it denies everything until
 * a release is activated or found in its run folder.
 * @throws AgentError HOST_SERVICE
 */
export async function ensureGate(context: ApplyContext): Promise<boolean> {
  const { paths, users, log } = context;
  if ((await findDaemon(paths.gatePid)) !== null) return false;
  const { uid, gid } = users.gate;
  for (const folder of [paths.gate, paths.gateState]) {
    await mkdir(folder, { recursive: true });
    await chown(folder, uid, gid);
  }
  const confine = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] as const;
  const program = [
    process.execPath,
    join(context.programFolder, "clawgress.mjs"),
    "gate",
    "--config",
    context.configFile,
  ];
  await startDaemon(
    [...confine, "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--no-new-privs", ...program],
    { pidFile: paths.gatePid, logFile: paths.gateLog, cwd: "/", uid },
  );
  await awaitSocket(context);
  log.info({ event: "gate-started", pid: await findDaemon(paths.gatePid) });
  return true;
}

async function awaitSocket({ gate, paths }: ApplyContext): Promise<void> {
  const endMs = monotonicMs() + START_TIMEOUT_MS;
  const remedy = `its last words are in ${paths.gateLog}`;
  for (;;) {
    try {
      await gate.status();
      return;
    } catch (error) {
      if ((await findDaemon(paths.gatePid)) === null) {
        throw new AgentError("HOST_SERVICE", "the DNS gate ended while it started", { remedy, cause: error });
      }
      if (monotonicMs() > endMs) {
        throw new AgentError("HOST_SERVICE", `the DNS gate does not answer: ${(error as Error).message}`, { remedy });
      }
      await sleepMs(POLL_MS);
    }
  }
}
