import { spawn } from "node:child_process";
import { join } from "node:path";
import type { ClientNode, LabNode } from "../lab/addresses.ts";
import type { Lab } from "../lab/lab.ts";
import { type CallLines, callByLines } from "../lab/lines.ts";
import { packageRoot } from "../lab/processes.ts";
import { makeSelfSigned } from "./self-signed.ts";

/** A flow over which both ends speak all the time, and each notes when it heard the other. */
export interface Flow {
  readonly id: string;
  readonly node: ClientNode;
  readonly kind: "tcp" | "udp" | "tls";
  readonly host: string;
  readonly port: number;
  readonly servername: string;
}

/** What one end of a flow has seen. Times are of the wall clock, in milliseconds. */
interface End {
  readonly sent: number;
  readonly received: number;
  /** When the last message came; null if none did. */
  readonly lastAt: number | null;
  /** Of all messages, the longest time between its sending and its coming. */
  readonly longestWaitMs: number;
  /** The first reset, ICMP error or end of the connection. */
  readonly endedAt: number | null;
  readonly how: string | null;
}

export interface BothEnds {
  readonly near: End;
  readonly far: End;
}

export interface Flows {
  /** Opens a flow and resolves when messages go both ways. @throws Error when none come back */
  readonly open: (flow: Flow) => Promise<void>;
  readonly read: (flows: readonly Flow[]) => Promise<readonly BothEnds[]>;
  /** Makes both ends say nothing more. */
  readonly hush: (flows: readonly Flow[]) => Promise<void>;
}

/** Where the internet side listens; whatever is sent to `turned` ends there, at any address. */
const listening = { tcp: 7100, udp: 7100, tls: 7443 } as const;
const turned = { tcp: "7100-7109", udp: "7100-7109", tls: "443" } as const;

/** Starts both ends' programs; they end with the lab, or with this process. */
export async function startFlows(lab: Lab, names: readonly string[], nodes: readonly ClientNode[]): Promise<Flows> {
  const { file } = await makeSelfSigned(lab.folder, "flows", names.map((name) => `DNS:${name}`).join(","));
  const rules = [
    `tcp dport ${turned.tls} redirect to :${listening.tls}`,
    ...(["tcp", "udp"] as const).map((kind) => `${kind} dport ${turned[kind]} redirect to :${listening[kind]}`),
  ];
  const networks = ["ip daddr { 203.0.113.10-203.0.113.49, 198.18.0.0/16 }", "ip6 daddr 2001:db8:1::/64"];
  const spared = `ip6 daddr { ${lab.addresses.git.v6}, ${lab.addresses.api.v6}, ${lab.addresses.dns.v6} } accept`;
  const lines = [
    "add table inet flows",
    "add chain inet flows turn { type nat hook prerouting priority dstnat; }",
    ...[spared, ...networks.flatMap((network) => rules.map((rule) => `${network} ${rule}`))].map(
      (rule) => `add rule inet flows turn ${rule}`,
    ),
  ];
  await lab.execChecked("internet", ["nft", "-f", "-"], { stdin: `${lines.join("\n")}\n` });
  const { tcp, udp, tls } = listening;
  const far = startEnd(lab, "internet", "far.mjs", `${tcp}`, `${udp}`, `${tls}`, file.replace(/pem$/, "key"), file);
  const near = new Map(nodes.map((node) => [node, startEnd(lab, node, "near.mjs")]));
  const of = ({ node }: Flow): CallLines => {
    const call = near.get(node);
    if (call === undefined) throw new RangeError(`no flows begin at ${node}`);
    return call;
  };
  return {
    open: async (flow) => void (await of(flow)("open", { ...flow })),
    read: async (flows) =>
      await Promise.all(
        flows.map(async (flow) => {
          const ends = await Promise.all([of(flow), far].map((call) => call("report", { ids: [flow.id] })));
          const [nearEnd, farEnd] = ends.map((reports) => (reports as readonly (End | null)[])[0]);
          if (nearEnd === null || nearEnd === undefined || farEnd === null || farEnd === undefined) {
            throw new Error(`the flow ${flow.id} was never there`);
          }
          return { near: nearEnd, far: farEnd };
        }),
      ),
    hush: async (flows) => {
      const ids = flows.map(({ id }) => id);
      await Promise.all([...near.values(), far].map((call) => call("hush", { ids })));
    },
  };
}

function startEnd(lab: Lab, node: LabNode, program: string, ...args: readonly string[]): CallLines {
  const path = join(packageRoot(), "test", "support", "flows", program);
  const argv = [`--net=/run/netns/${lab.namespace(node)}`, "--", process.execPath, path, ...args];
  const child = spawn("nsenter", argv, { detached: true, stdio: ["pipe", "pipe", "inherit"] });
  return callByLines(child.stdin, child.stdout, `${program} on ${node}`);
}
