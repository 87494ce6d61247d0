import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { startDaemon, startDaemonUnit } from "../host/daemon.ts";
import { findProgram } from "../host/find-program.ts";
import type { TransientUnit } from "../host/systemd.ts";
import type { UserIds } from "../host/users.ts";
import { CREDENTIALS_FOLDER, credentialId, credentialNames } from "../settings/credentials.ts";
import { DEFAULT_PATHS, type Paths } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import type { ApplyContext } from "./context.ts";
import { type Needs, rootProperties, sandboxProperties } from "./sandbox.ts";

/** The programs that outlive the agent. */
export type DaemonName = "gate" | "named" | "proxy" | "ulogd" | "api";

/** How a daemon is started by either driver. */
export interface DaemonStart {
  readonly user: UserIds;
  /** What runs, without what takes privileges away: its first word is found on the PATH. */
  readonly program: readonly [string, ...string[]];
  /** What goes before it where it is a detached process. */
  readonly confine: readonly string[];
  readonly cwd: string;
}

type DaemonContext = Pick<ApplyContext, "settings" | "paths" | "programFolder" | "configFile">;

/** systemd kills what has not ended by then. named writes nothing that a kill could damage; the gate saves its counts. */
const STOP_S = 3;
/**
 * When systemd starts one again itself. Later than the agent, which looks four times a second and says so in its status:
 * this is for when the agent is dead, too.
 */
const RESTART_S = 1;
/** The gate says every five seconds that it has looked after itself; reading back a large kernel state takes its time. */
const GATE_WATCHDOG_S = 60;

/**
 * Starts a daemon by the driver of agent.json: as a transient unit of systemd, or as a detached process. Returns its pid.
 * @throws AgentError HOST_SERVICE, HOST_MISSING
 */
export async function launchDaemon(context: DaemonContext, name: DaemonName, start: DaemonStart): Promise<number> {
  const { pidFile, logFile } = filesOf(context.paths, name);
  const { user, program, confine, cwd } = start;
  if (context.settings.driver === "process") {
    const [first, ...rest] = [...confine, ...program];
    return await startDaemon([first ?? program[0], ...rest], { pidFile, logFile, cwd, uid: user.uid });
  }
  const [first, ...rest] = program;
  const path = first.startsWith("/") ? first : await findProgram(first);
  const unit = daemonUnit(context, name, { user, cwd, executes: [path] });
  return await startDaemonUnit([path, ...rest], unit, pidFile);
}

/** Returns where a daemon's last words are, for people. */
export function lastWords({ settings, paths }: Pick<DaemonContext, "settings" | "paths">, name: DaemonName): string {
  const isUnit = settings.driver === "systemd";
  return isUnit
    ? `its last words: journalctl --unit=${unitName(settings, name)}`
    : `its last words are in ${filesOf(paths, name).logFile}`;
}

/** Returns the transient unit of a daemon. */
export function daemonUnit(
  context: DaemonContext,
  name: DaemonName,
  start: { readonly user: UserIds; readonly cwd: string; readonly executes: readonly string[] },
): TransientUnit {
  const isRestarted = name === "gate" || name === "named" || name === "proxy";
  const properties = [
    `Description=Clawgress ${titles[name]} of ${context.settings.gateway}`,
    ...outsideBoot,
    ...(name === "gate" ? ["Type=notify", "NotifyAccess=main", `WatchdogSec=${GATE_WATCHDOG_S}`] : ["Type=exec"]),
    // The memory of the gate holds what clients asked for.
    ...(name === "gate" ? ["WatchdogSignal=SIGKILL"] : []),
    ...(isRestarted ? ["Restart=on-failure", `RestartSec=${RESTART_S}`, "StartLimitIntervalSec=0"] : []),
    ...(name === "api" ? ["Nice=10", ...apiCredentials(context)] : []),
    `TimeoutStopSec=${STOP_S}`,
    `WorkingDirectory=${start.cwd}`,
    ...sandboxProperties(needsOf(context, name, start)),
  ];
  return { name: unitName(context.settings, name), properties };
}

/** Returns a transient unit for a revert timer: as a rule one at a time, and a second one while the glass is broken. */
export function timerUnit({ settings }: Pick<ApplyContext, "settings">, id: string): TransientUnit {
  return {
    name: `clawgress-revert-timer${instanceSuffix(settings)}-${id}.service`,
    properties: [
      `Description=Clawgress revert timer of ${settings.gateway}`,
      ...outsideBoot,
      "Type=exec",
      "WorkingDirectory=/",
      ...rootProperties([settings.paths.state, settings.paths.run]),
    ],
  };
}

/** Returns the names of all transient units that may run; `?` stands for any character. */
export function unitNames(settings: Settings): readonly string[] {
  const daemons = (["api", "ulogd", "gate", "proxy", "named"] as const).map((name) => unitName(settings, name));
  return [timerUnit({ settings }, "????????").name, ...daemons];
}

/** They start before the system is up, and end when it goes down. */
const outsideBoot = ["DefaultDependencies=no", "Conflicts=shutdown.target", "Before=shutdown.target"] as const;

const titles: { readonly [name in DaemonName]: string } = {
  gate: "DNS gate",
  named: "resolver",
  proxy: "proxy of SNI mode",
  ulogd: "packet log",
  api: "API and decisions",
};

/** Several agents of one machine differ in their run folders. */
function instanceSuffix({ paths }: Pick<Settings, "paths">): string {
  if (paths.run === DEFAULT_PATHS.run) return "";
  return `-${createHash("sha256").update(paths.run).digest("hex").slice(0, 8)}`;
}

function unitName(settings: Settings, name: DaemonName): string {
  return `clawgress-${name}${instanceSuffix(settings)}.service`;
}

function filesOf(paths: Paths, name: DaemonName): { readonly pidFile: string; readonly logFile: string } {
  switch (name) {
    case "gate":
      return { pidFile: paths.gatePid, logFile: paths.gateLog };
    case "named":
      return { pidFile: paths.namedPid, logFile: join(paths.named, "start.log") };
    case "proxy":
      return { pidFile: paths.proxyPid, logFile: paths.proxyLog };
    case "ulogd":
      return { pidFile: paths.packetLogPid, logFile: paths.packetLogOutput };
    case "api":
      return { pidFile: paths.apiPid, logFile: paths.apiLog };
  }
}

function needsOf(
  { settings, paths, programFolder }: DaemonContext,
  name: DaemonName,
  { user, executes }: { readonly user: UserIds; readonly executes: readonly string[] },
): Needs {
  const node = [`-${join(dirname(programFolder), "node_modules")}`, `-${join(programFolder, "node_modules")}`];
  const basic = { user, executes, capabilities: [], isJit: false } as const;
  switch (name) {
    case "gate":
      return {
        ...basic,
        capabilities: ["CAP_NET_ADMIN", ...portCapability(settings.gate.port)],
        writes: [paths.gate, paths.gateState],
        executes: [...executes, ...node],
        sockets: ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
        reaches: "everything",
        isJit: true,
      };
    case "named":
      return {
        ...basic,
        capabilities: portCapability(Math.min(settings.dns.namedPort, settings.dns.controlPort)),
        writes: [paths.namedWork],
        sockets: ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
        reaches: "everything",
      };
    case "proxy":
      return {
        ...basic,
        writes: [dirname(paths.proxySocket)],
        sockets: ["AF_UNIX", "AF_INET", "AF_INET6"],
        reaches: "everything",
        // Its regular expressions become machine code.
        isJit: true,
      };
    case "ulogd":
      return {
        ...basic,
        capabilities: ["CAP_NET_ADMIN"],
        writes: [],
        sockets: ["AF_UNIX", "AF_NETLINK"],
        reaches: "nothing",
      };
    case "api":
      return {
        ...basic,
        capabilities: portCapability(settings.api.port ?? 65_535),
        writes: [paths.api, paths.decisions],
        executes: [...executes, ...node],
        sockets: ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
        reaches: isOnLoopback(settings) ? "loopback" : "everything",
        isJit: true,
      };
  }
}

function portCapability(port: number): readonly string[] {
  return port < 1024 ? ["CAP_NET_BIND_SERVICE"] : [];
}

function isOnLoopback({ api }: Settings): boolean {
  return api.port === null || api.address === "::1" || api.address.startsWith("127.");
}

/** systemd reads them as root and shows them to this unit alone. */
function apiCredentials({ settings: { api }, configFile }: DaemonContext): readonly string[] {
  const files = [api.webhookSecretFile, api.tls?.certificateFile ?? null, api.tls?.keyFile ?? null];
  const folder = join(dirname(configFile), CREDENTIALS_FOLDER);
  return credentialNames(files).map((name) => `LoadCredential=${credentialId(name)}:${join(folder, name)}`);
}
