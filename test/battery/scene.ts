import { gatewayOf, type Pair } from "../lab/addresses.ts";
import type { LabClient } from "../lab/client.ts";
import type { Lab } from "../lab/lab.ts";
import { startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import {
  type Fault,
  type GatewayOptions,
  type PolicyText,
  setUpGateway,
  type TestGateway,
} from "../support/gateway.ts";
import { openGateway } from "../support/open-gateway.ts";
import { raiseFarSide, relayProgram } from "./far-side.ts";

/** Returns what the gateway of a lab enforces. */
export type StageOptions = (lab: Lab) => Promise<GatewayOptions>;

/** A lab with a gateway in the middle: one that enforces a policy, or an open one. */
export interface Stage {
  readonly lab: Lab;
  /** Null where the gateway is open. */
  readonly gateway: TestGateway | null;
  /** Starts the agent again, after it was killed. */
  readonly startAgent: (fault?: Fault) => LabProcess;
  /** Ends the agent with SIGKILL; what it started goes on. */
  readonly killAgent: () => Promise<void>;
  /** Puts a policy in force; an open gateway has none. */
  readonly enforce: (policy: PolicyText) => Promise<void>;
  /** Gives agent1 addresses that nobody had before, and makes it send from them: a machine without a past. */
  readonly moveIn: () => Promise<Pair>;
  /** Gives the machine that moved in last other addresses, and makes it send from them. */
  readonly changeAddresses: () => Promise<void>;
  /** What an experiment that several scenarios read has found; it is made once. */
  readonly once: <Found>(name: string, make: () => Promise<Found>) => Promise<Found>;
  readonly stop: () => Promise<void>;
}

/** What a scenario plays in. */
export interface Scene extends Stage {
  readonly family: 4 | 6;
  readonly machine: Pair;
  /** The attacker's address of the family. */
  readonly own: string;
  readonly client: LabClient;
  /** Options of a probe towards a name: of this family, asked over this family. */
  readonly by: { readonly family: 4 | 6; readonly resolver: string };
  /** Address of the family of the n-th service of the internet side. */
  readonly service: (n: number) => string;
  /** A label that no question had before. */
  readonly fresh: () => string;
}

/** A service on a machine that is none of the internet: an HTTP server that answers 200 to all. */
const helloServer = `require("node:http").createServer((_, answer) => answer.end("inside\\n")).listen({ port: +process.argv[1], host: "::" })`;

/** What takes connections on the ports that a gateway of ours has, where nothing else does. */
const listeners = `for (const port of process.argv.slice(1)) require("node:net").createServer((socket) => socket.end()).listen({ port: +port, host: "::" })`;

/** Ports of our own services on a gateway. */
export const ownPorts = [5_443, 5_480, 5_353, 5_354, 953, 443, 80] as const;

/** Ports of what stands beside the policy in every stage; the relay is one that the gateway's own people run for themselves. */
export const sidePorts = { relay: 3128, hello: 8080 } as const;

/** Brings up a stage; without options the gateway is open. Stops by `stop`. */
export async function raiseStage(options: StageOptions | null): Promise<Stage> {
  const lab = await startLab();
  try {
    // Nobody waits for an error that was not sent because there had been others.
    for (const node of ["gateway", "internet"] as const) {
      await lab.execChecked(node, ["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
    }
    lab.spawn("gateway", [process.execPath, "-e", relayProgram, String(sidePorts.relay)]);
    for (const node of ["guest", "mgmt"] as const) {
      lab.spawn(node, [process.execPath, "-e", helloServer, String(sidePorts.hello)]);
    }
    await raiseFarSide(lab);
    const gateway = options === null ? null : await setUpGateway(lab, { threshold: 1, ...(await options(lab)) });
    const stage = stageOf(lab, gateway);
    if (gateway === null) {
      await openGateway(lab);
      lab.spawn("gateway", [process.execPath, "-e", listeners, ...ownPorts.map(String)]);
    } else {
      stage.startAgent();
      await gateway.awaitStatus(await gateway.head(), ["success"]);
    }
    return stage;
  } catch (error) {
    await lab.stop();
    throw error;
  }
}

function stageOf(lab: Lab, gateway: TestGateway | null): Stage {
  let machines = 0;
  const nextNumber = (): number => {
    machines += 1;
    if (machines > 100) throw new RangeError("the lab's network has no more addresses");
    return 100 + machines;
  };
  let agent: LabProcess | null = null;
  const found = new Map<string, Promise<unknown>>();
  return {
    lab,
    gateway,
    startAgent: (fault) => {
      if (gateway === null) throw new Error("an open gateway has no agent");
      agent = gateway.start(fault);
      return agent;
    },
    killAgent: async () => void (await agent?.kill("SIGKILL")),
    enforce: async (policy) => {
      if (gateway === null) return;
      const commit = await gateway.commit(policy, { signers: ["alice"] });
      await gateway.awaitStatus(commit, ["success"]);
    },
    moveIn: async () => {
      const number = nextNumber();
      // A link address of its own too: the gate knows a machine by that.
      const link = `02:00:5e:00:00:${number.toString(16).padStart(2, "0")}`;
      await lab.execChecked("agent1", ["ip", "link", "set", "dev", "eth0", "address", link]);
      return await takeAddresses(lab, number);
    },
    changeAddresses: async () => void (await takeAddresses(lab, nextNumber())),
    once: async <Found>(name: string, make: () => Promise<Found>): Promise<Found> => {
      const known = found.get(name) ?? make();
      found.set(name, known);
      return (await known) as Found;
    },
    stop: () => lab.stop(),
  };
}

async function takeAddresses(lab: Lab, number: number): Promise<Pair> {
  const machine = { v4: `10.80.0.${number}`, v6: `fd80::${number}` };
  const batch = async (family: "-4" | "-6", lines: readonly string[]): Promise<void> => {
    await lab.execChecked("agent1", ["ip", family, "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  };
  await batch("-4", [
    `addr add ${machine.v4}/24 dev eth0`,
    `route replace 10.80.0.0/24 dev eth0 proto kernel scope link src ${machine.v4}`,
    `route replace default via ${lab.addresses.lan.v4} dev eth0 src ${machine.v4}`,
  ]);
  await batch("-6", [
    `addr add ${machine.v6}/64 dev eth0 nodad`,
    `route replace fd80::/64 dev eth0 metric 10 src ${machine.v6}`,
    `route replace default via ${lab.addresses.lan.v6} dev eth0 metric 10 src ${machine.v6}`,
  ]);
  return machine;
}

let labels = 0;

/** Returns a scene of a stage, with a machine of its own. */
export async function openScene(stage: Stage, family: 4 | 6): Promise<Scene> {
  const machine = await stage.moveIn();
  const key = `v${family}` as const;
  return {
    ...stage,
    family,
    machine,
    own: machine[key],
    client: stage.lab.client("agent1"),
    by: { family, resolver: gatewayOf("agent1")[key] },
    service: (n) => (family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n.toString(16)}`),
    fresh: () => {
      labels += 1;
      return `x${process.pid}-${labels}`;
    },
  };
}
