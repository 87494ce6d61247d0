import { join } from "node:path";
import { DENIED_CANARY_NAME } from "../compile/release.ts";
import { toAgentError } from "../errors.ts";
import { runChecked } from "../host/run.ts";
import {
  type ProbeAddress,
  type ProbeSettings,
  probeAddresses,
  probeLink,
  type Settings,
} from "../settings/settings.ts";
import { type ProbeResult, type ProbeTask, runProbe } from "./probe.ts";

/** Node's start and the writing of the answer, on a busy machine. */
const PROGRAM_SLACK_MS = 5_000;
const BUILT_IN_TIMEOUT_MS = 2_000;

/** Where the programs of dist/ are. */
export interface ProbePlace {
  readonly programFolder: string;
}

/** Probes whose program has started, which takes longer than they do. */
export interface ReadyProbes {
  /**
   * Runs every built-in and configured probe, from the gateway and as a client, at the same time.
   * Returns one result each, built-in ones first. Never throws for a probe that fails; a namespace that is broken fails
   * every client probe with the reason. To be called once.
   */
  run(): Promise<readonly ProbeResult[]>;
  /** Ends a program that has nothing to do. */
  dismiss(): void;
}

/** Starts what probes as a client, in its namespace, and returns at once. */
export function startProbes(settings: Pick<Settings, "health" | "dns">, place: ProbePlace): ReadyProbes {
  const { clientTasks, gatewayTasks } = listTasks(settings);
  const { namespace } = settings.health;
  const order = JSON.stringify(clientTasks);
  let give = (): void => {};
  let dismiss = (): void => {};
  const given = new Promise<string>((resolve, reject) => {
    give = () => resolve(order);
    dismiss = () => reject(new Error("there is nothing to probe"));
  });
  let hasEnded = false;
  const waiting = runAsClient(clientTasks, given, namespace, place).finally(() => {
    hasEnded = true;
  });
  return {
    run: async () => {
      // One that ended before it was asked has found out nothing.
      const asClient = hasEnded ? runAsClient(clientTasks, Promise.resolve(order), namespace, place) : waiting;
      give();
      return (await Promise.all([asClient, Promise.all(gatewayTasks.map(runProbe))])).flat();
    },
    dismiss,
  };
}

function listTasks(settings: Pick<Settings, "health" | "dns">): {
  readonly clientTasks: readonly ProbeTask[];
  readonly gatewayTasks: readonly ProbeTask[];
} {
  const addresses = probeAddresses(settings.health);
  const gatewayTasks: ProbeTask[] = [];
  const clientTasks: ProbeTask[] = addresses.map((address) => deniedCanary(address));
  for (const probe of settings.health.probes) {
    if ("gateway" in probe.from) gatewayTasks.push(gatewayTask(probe, settings));
    else clientTasks.push(clientTask(probe, probe.from.host, addresses));
  }
  return { clientTasks, gatewayTasks };
}

function deniedCanary(address: ProbeAddress): ProbeTask {
  return {
    name: `built-in: a name outside the policy is denied to ${address.host === "*" ? "a client in no host" : address.host}`,
    type: "dns",
    to: DENIED_CANARY_NAME,
    port: null,
    expect: "deny",
    timeoutMs: BUILT_IN_TIMEOUT_MS,
    attempts: 2,
    mandatory: true,
    ...clientSide(address),
  };
}

function clientTask(probe: ProbeSettings, host: string, addresses: readonly ProbeAddress[]): ProbeTask {
  const address = addresses.find((candidate) => candidate.host === host);
  if (address === undefined) throw new RangeError(`no reserved address for probe host ${host}`);
  return { ...common(probe), ...clientSide(address) };
}

function clientSide(address: ProbeAddress): Pick<ProbeTask, "servers" | "source4" | "source6"> {
  return { servers: [probeLink.gateway4], source4: address.address4, source6: address.address6 };
}

function gatewayTask(probe: ProbeSettings, settings: Pick<Settings, "dns">): ProbeTask {
  const { upstreams, upstreamPort } = settings.dns;
  const servers = upstreams.map((address) =>
    address.includes(":") ? `[${address}]:${upstreamPort}` : `${address}:${upstreamPort}`,
  );
  return { ...common(probe), servers, source4: null, source6: null };
}

function common(probe: ProbeSettings): Omit<ProbeTask, "servers" | "source4" | "source6"> {
  const { name, type, to, port, expect, timeoutMs, attempts } = probe;
  return { name, type, to, port, expect, timeoutMs, attempts, mandatory: false };
}

async function runAsClient(
  tasks: readonly ProbeTask[],
  stdin: Promise<string>,
  namespace: string,
  place: ProbePlace,
): Promise<readonly ProbeResult[]> {
  const longestMs = Math.max(...tasks.map((task) => task.timeoutMs * task.attempts * 3));
  const program = join(place.programFolder, "client-probe.mjs");
  try {
    const answer = await runChecked(["nsenter", `--net=/run/netns/${namespace}`, process.execPath, program], {
      stdin,
      timeoutMs: longestMs + PROGRAM_SLACK_MS,
    });
    return JSON.parse(answer) as readonly ProbeResult[];
  } catch (error) {
    const { message } = toAgentError(error, "HEALTH_FAILED", "the client probe does not run");
    return tasks.map(({ name, mandatory }) => ({ name, mandatory, passed: false, detail: message }));
  }
}
