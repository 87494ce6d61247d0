import type { Random } from "../faults/random.ts";
import type { BatchCall } from "../lab/client.ts";
import {
  datagramAddresses,
  type Family,
  type KnownName,
  knownNames,
  type Machine,
  targetAddresses,
  tcpPorts,
  udpPorts,
} from "./world.ts";

/** Something that a machine tries. */
export interface Flow {
  readonly family: Family;
  readonly source: string;
  /** Asked for before the flow, and asked of the gateway itself when there is no port. */
  readonly name: KnownName | null;
  /** Where to; null for a question. */
  readonly to: { readonly address: string; readonly protocol: "tcp" | "udp"; readonly port: number } | null;
}

/** The flows of one policy in the order in which they are tried: to addresses before any name was asked, questions, flows to names. */
export interface FlowPlan {
  readonly toAddresses: readonly Flow[];
  readonly questions: readonly Flow[];
  readonly toNames: readonly Flow[];
}

/** Returns about so many flows of some machines. */
export function planFlows(random: Random, machines: readonly Machine[], pairs: number): FlowPlan {
  const from = (): { readonly family: Family; readonly source: string } => {
    const family = random.pick([4, 6] as const);
    return { family, source: random.pick(machines)[`v${family}`] };
  };
  const toAddresses = Array.from({ length: Math.round(pairs * 0.35) }, (): Flow => {
    const { family, source } = from();
    return { family, source, name: null, to: randomTarget(random, family, null) };
  });
  const asked = new Map<string, Flow>();
  for (let tries = 0; tries < pairs * 0.25; tries += 1) {
    const flow: Flow = { ...from(), name: random.pick(knownNames), to: null };
    asked.set(`${flow.source} ${flow.name?.name}`, flow);
  }
  const questions = [...asked.values()];
  const left = pairs - toAddresses.length - questions.length;
  const toNames = Array.from({ length: left }, (): Flow | null => {
    const { family, source, name } = random.pick(questions);
    const address = name?.addresses[`v${family}`][0];
    return address === undefined ? null : { family, source, name, to: randomTarget(random, family, address) };
  });
  return { toAddresses, questions, toNames: toNames.filter((flow) => flow !== null) };
}

function randomTarget(random: Random, family: Family, address: string | null): NonNullable<Flow["to"]> {
  const canBeUdp = address === null || datagramAddresses[family].includes(address);
  if (canBeUdp && random.next() < 0.2) {
    const to = address ?? random.pick(datagramAddresses[family]);
    return { address: to, protocol: "udp", port: random.pick(udpPorts) };
  }
  return { address: address ?? random.pick(targetAddresses[family]), protocol: "tcp", port: random.pick(tcpPorts) };
}

const TIMEOUT_MS = 2_500;

/** Returns how a flow is tried. Through the proxy a connection alone says nothing: the name must be said. */
export function callOf({ family, source, name, to }: Flow, isProxied: boolean): BatchCall {
  const common = { timeoutMs: TIMEOUT_MS, source };
  if (to === null) {
    const server = family === 4 ? "10.80.0.1" : "fd80::1";
    return { ...common, method: "resolve", name: name?.name, type: family === 4 ? "A" : "AAAA", server };
  }
  const { address: host, protocol, port } = to;
  if (protocol === "udp") return { ...common, method: "udp", host, port, payload: "ping" };
  if (isProxied && port === 443) return { ...common, method: "tls", host, port, servername: name?.name ?? "" };
  if (isProxied && port === 80) {
    const shown = family === 6 ? `[${host}]` : host;
    return { ...common, method: "get", host, port, path: "/", name: name?.name ?? shown };
  }
  return { ...common, method: "connect", host, port };
}

/** Returns whether a flow was let pass. */
export function isThrough(result: { readonly [key: string]: unknown }): boolean {
  const { outcome, status, rcode } = result;
  if (outcome === "answer") return rcode === "NOERROR";
  return outcome === "answered" || (outcome === "connected" && (status === undefined || status === 200));
}
