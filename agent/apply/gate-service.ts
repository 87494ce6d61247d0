import { chown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { findDaemon } from "../host/daemon.ts";
import type { ApplyContext } from "./context.ts";
import { lastWords, launchDaemon } from "./daemons.ts";

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
  const drop = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] as const;
  const keep = ["--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--no-new-privs"] as const;
  const script = join(context.programFolder, "clawgress.mjs");
  await launchDaemon(context, "gate", {
    user: users.gate,
    program: [process.execPath, script, "gate", "--config", context.configFile],
    confine: [...drop, ...keep],
    cwd: "/",
  });
  await awaitSocket(context);
  log.info({ event: "gate-started", pid: await findDaemon(paths.gatePid) });
  return true;
}

async function awaitSocket(context: ApplyContext): Promise<void> {
  const { gate, paths } = context;
  const endMs = monotonicMs() + START_TIMEOUT_MS;
  const remedy = lastWords(context, "gate");
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
