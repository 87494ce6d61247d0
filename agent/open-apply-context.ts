import { mkdir, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Logger } from "pino";
import type { ApplyContext } from "./apply/context.ts";
import { createStepTimes, plainStep, type RunStep, timeSteps } from "./apply/step.ts";
import { createGateControl } from "./gate/control-client.ts";
import { createFileDigests } from "./host/file-digests.ts";
import { createMachineTurn } from "./host/machine-turn.ts";
import { requireSystemd } from "./host/systemd.ts";
import { createTurn } from "./host/turn.ts";
import { findUser, resolveUser } from "./host/users.ts";
import { pathsOf } from "./settings/paths.ts";
import type { Settings } from "./settings/settings.ts";

/** Returns what the apply steps work with. @throws AgentError HOST_MISSING for a user, or a systemd, that is not there. */
export async function openApplyContext(
  settings: Settings,
  configFile: string,
  log: Logger,
  step: RunStep = plainStep,
): Promise<ApplyContext> {
  const paths = pathsOf(settings);
  if (settings.driver === "systemd") await requireSystemd();
  const stepTimes = createStepTimes();
  await mkdir(settings.paths.run, { recursive: true });
  return {
    settings,
    paths,
    configFile: resolve(configFile),
    programFolder: dirname(await realpath(process.argv[1] ?? "")),
    users: {
      named: await resolveUser(settings.dns.user, "dns.user"),
      gate: await resolveUser(settings.gate.user, "gate.user"),
      proxy: await findUser(settings.proxy.user),
    },
    gate: createGateControl(paths.gateSocket),
    verdicts: new Map(),
    digests: createFileDigests(),
    gateReleases: new Map(),
    inTurn: createTurn(),
    locked: createMachineTurn(paths.applyLock),
    step: timeSteps(step, stepTimes, log),
    stepTimes,
    log,
  };
}
