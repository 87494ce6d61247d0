import { chown, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { findDaemon } from "../host/daemon.ts";
import { resolveUser } from "../host/users.ts";
import type { ApplyContext } from "./context.ts";
import { launchDaemon } from "./daemons.ts";

/**
 * Starts the process of the API when it does not run, as a user of its own without any privilege, and does not wait for
 * it: nothing that is enforced does. Returns whether it had to be started. @throws AgentError HOST_MISSING, HOST_SERVICE
 */
export async function ensureApi(context: ApplyContext): Promise<boolean> {
  const { paths, settings, log } = context;
  if ((await findDaemon(paths.apiPid)) !== null) return false;
  const user = await resolveUser(settings.api.user, "api.user");
  const { uid, gid } = user;
  // It was root's alone if the user was made after the agent had started.
  await chown(paths.agentSocket, uid, gid);
  for (const folder of [paths.api, paths.decisions]) {
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(folder, { recursive: true, mode: 0o750 });
    await chown(folder, uid, gid);
  }
  const confine = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] as const;
  const script = join(context.programFolder, "clawgress.mjs");
  await launchDaemon(context, "api", {
    user,
    program: [process.execPath, script, "api", "--config", context.configFile],
    confine: [...confine, "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"],
    cwd: "/",
  });
  log.info({ event: "api-started", pid: await findDaemon(paths.apiPid) });
  return true;
}
