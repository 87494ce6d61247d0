import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ensureApi } from "../../../agent/apply/api-service.ts";
import type { ApplyContext } from "../../../agent/apply/context.ts";
import { findDaemon } from "../../../agent/host/daemon.ts";
import { initialisePointers } from "../../../agent/host/pointer-store.ts";
import { resolveUser } from "../../../agent/host/users.ts";
import { createActivity, describeCounts } from "../../../agent/report/agent-memory.ts";
import { readGatewayStatus } from "../../../agent/report/read-gateway-status.ts";
import { parseSettings } from "../../../agent/settings/parse-settings.ts";
import { pathsOf } from "../../../agent/settings/paths.ts";
import type { Settings } from "../../../agent/settings/settings.ts";

const missing = "clawgress-nobody-has-this";

test("a user that does not exist is named with its setting and with what to do", async () => {
  for (const setting of ["dns.user", "gate.user", "api.user"] as const) {
    await expect(resolveUser(missing, setting)).rejects.toMatchObject({
      code: "HOST_MISSING",
      message: `${setting} of agent.json is ${missing}, and there is no such user`,
      remedy: expect.stringMatching(new RegExp(`adduser --system .*${missing}.*${setting.replace(".", "\\.")}`)),
    });
  }
});

test("without api.user nothing is started or made, and status says why decisions wait", async () => {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-api-"));
  try {
    const settings = settingsIn(folder, missing);
    const paths = pathsOf(settings);
    await expect(ensureApi({ settings, paths } as ApplyContext)).rejects.toMatchObject({
      code: "HOST_MISSING",
      remedy: expect.stringContaining("api.user"),
    });
    for (const path of [paths.api, paths.decisions, paths.apiPid]) expect(existsSync(path), path).toBe(false);
    // An agent runs when its file and its socket are there.
    mkdirSync(settings.paths.run);
    await initialisePointers(paths.pointers, { gateway: "gw", repository: "own" });
    const activity = describeCounts(createActivity(0));
    writeFileSync(paths.status, JSON.stringify({ version: 1, pid: process.pid, counts: activity }));
    const agent = createServer().listen(paths.agentSocket);
    await once(agent, "listening");
    const { degraded } = await readGatewayStatus(settings);
    agent.close();
    expect(degraded).toContainEqual(
      `the API's process does not run: decisions wait to be stored; there is no user ${missing} (api.user)`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.runIf(process.getuid?.() === 0)(
  "a user that was made after the agent's start finds the agent's socket its own",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "clawgress-api-"));
    const settings = settingsIn(folder, "30007");
    const paths = pathsOf(settings);
    chmodSync(folder, 0o755);
    mkdirSync(settings.paths.run);
    writeFileSync(join(folder, "clawgress.mjs"), "setInterval(() => {}, 60_000);\n");
    const agent = createServer().listen(paths.agentSocket);
    await once(agent, "listening");
    const log = { info: () => {} };
    const context = {
      settings,
      paths,
      log,
      programFolder: folder,
      configFile: "agent.json",
    } as unknown as ApplyContext;
    try {
      expect(await ensureApi(context)).toBe(true);
      expect(await ensureApi(context)).toBe(false);
      for (const path of [paths.agentSocket, paths.api, paths.decisions]) expect(statSync(path).uid, path).toBe(30_007);
    } finally {
      const pid = await findDaemon(paths.apiPid);
      if (pid !== null) process.kill(pid, "SIGKILL");
      agent.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

function settingsIn(folder: string, user: string): Settings {
  const document = {
    ...{ version: 1, gateway: "gw", interfaces: { clients: ["lan0"], upstream: ["wan0"] } },
    ...{ dns: { upstreams: ["192.0.2.53"] }, api: { user } },
    paths: { state: join(folder, "state"), run: join(folder, "run") },
  };
  const result = parseSettings(Buffer.from(JSON.stringify(document)), "agent.json");
  if (!result.ok) throw new Error(JSON.stringify(result.issues));
  return result.settings;
}
