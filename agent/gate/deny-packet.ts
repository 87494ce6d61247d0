import { type CapState, capStateText } from "../policy/cap-text.ts";
import { findCap } from "../policy/caps.ts";
import type { Client, Decision } from "../policy/decide.ts";
import type { Protocol } from "../policy/policy.ts";
import type { Reason } from "../policy/reasons.ts";
import type { ActivePolicy } from "./active-policy.ts";
import { commonDetails, type Denial, type DenyAction, type Nearest } from "./deny-record.ts";
import type { RefusedPacket } from "./packet-line.ts";

/** What the gate knows beside the packet. */
export interface PacketContext {
  readonly policy: ActivePolicy | null;
  /** Names that a client was answered with an address, and that still hold. */
  readonly namesOf: (client: string, address: string) => readonly string[];
  readonly isClientInterface: (name: string) => boolean;
  /** What is known of a byte cap in force. */
  readonly usageOf: (mark: number) => CapState | null;
}

interface Verdict {
  readonly reason: Reason;
  readonly near: Nearest | null;
}

/** The flow of a packet as its client sees it. */
interface Flow {
  readonly client: string;
  readonly far: string;
  readonly port: number | null;
}

const MAX_NAMES = 8;

/**
 * Returns a refused packet as a denial, with the reason that the same decider gives which answers questions of names.
 * The client is who wanted something: of the answer to a flow that is over, the machine that had begun it.
 */
export function packetDenial(packet: RefusedPacket, context: PacketContext): Denial {
  const { policy } = context;
  const flow = flowOf(packet);
  const names = packet.origin === "spoofed" ? [] : context.namesOf(flow.client, flow.far).slice(0, MAX_NAMES);
  const client = policy === null || !isOurs(packet, context) ? null : policy.clientOf(flow.client);
  const { reason, near } = judge(packet, flow, client, names, context);
  return {
    plane: "ip",
    verdict: packet.origin === "audit" ? "would-deny" : "deny",
    reason,
    client: flow.client,
    target: `${flow.far} ${flow.port} ${packet.protocol} ${names[0] ?? ""}`,
    describe: () => ({
      ...commonDetails(actionOf(packet), client, near, policy),
      interface: packet.inInterface,
      destination: flow.far,
      port: flow.port,
      protocol: packet.protocol,
      names: names.length === 0 ? null : names,
    }),
  };
}

function flowOf({ origin, source, destination, sourcePort, destinationPort }: RefusedPacket): Flow {
  return origin === "reply"
    ? { client: destination, far: source, port: sourcePort }
    : { client: source, far: destination, port: destinationPort };
}

/** Whether the client of the packet is one of the machines that the policy speaks of. */
function isOurs({ origin, inInterface, outInterface }: RefusedPacket, { isClientInterface }: PacketContext): boolean {
  const side = origin === "reply" ? outInterface : inInterface;
  return side !== null && isClientInterface(side);
}

function judge(
  packet: RefusedPacket,
  flow: Flow,
  client: Client | null,
  names: readonly string[],
  context: PacketContext,
): Verdict {
  const { origin, protocol, outInterface } = packet;
  const isToClient = outInterface !== null && context.isClientInterface(outInterface);
  if (origin === "spoofed") return plain("spoofed-source");
  if (origin === "routed") return plain("source-route");
  if (origin === "input") return plain("gateway-port");
  if (origin === "outside") return plain(isToClient ? "from-outside" : "host-unknown");
  if (origin === "forward" && isToClient) return plain("between-clients");
  if (context.policy === null) return plain("not-ready");
  if (packet.isOverCap && client !== null) {
    return { reason: "quota", near: nearestCap(context.policy, client, names, context.usageOf) };
  }
  if (client === null) return plain("host-unknown");
  if (context.policy.release.policy.mode === "deny-all") return plain("deny-all");
  if ((protocol !== "tcp" && protocol !== "udp") || flow.port === null) return plain("proto-not-allowed");
  return judgeFlow(context.policy, client, flow, { protocol, port: flow.port }, names);
}

/** The cap that one of the names counts for, one that is used up before others. */
function nearestCap(
  policy: ActivePolicy,
  client: Client,
  names: readonly string[],
  usageOf: PacketContext["usageOf"],
): Nearest | null {
  const found = names.flatMap((name) => {
    const cap = findCap(client.group.caps, name);
    const mark = policy.capOf(client.group.name, name);
    const usage = mark === null ? null : usageOf(mark);
    const decision = policy.decider.decideName(client, name);
    const rule = decision.verdict === "allow" ? decision.rule : null;
    return cap === null || usage === null || rule === null ? [] : [{ cap, usage, rule }];
  });
  const nearest = found.find(({ usage }) => usage.used >= usage.bytes) ?? found[0];
  if (nearest === undefined) return null;
  const { cap, usage, rule } = nearest;
  // The kernel has just said that it is used up, which the gate reads a little later.
  const full = { ...usage, used: Math.max(usage.used, usage.bytes) };
  return { nearMiss: `${usage.pattern}: ${capStateText(full)}`, nearRule: { ...rule, place: cap.place } };
}

/** A name that led the client here comes first: it is what people know, and its ports are what is missing. */
function judgeFlow(
  policy: ActivePolicy,
  client: Client,
  flow: Flow,
  { protocol, port }: { readonly protocol: Protocol; readonly port: number },
  names: readonly string[],
): Verdict {
  const { decider } = policy;
  const byAddress = enforced(decider.decideAddress(client, flow.far, protocol, port));
  // No name opens a denied network.
  if (byAddress.verdict === "deny" && byAddress.reason === "denied-explicit") {
    return { reason: byAddress.reason, near: byAddress };
  }
  const byName = names.map((name) => enforced(decider.decideNameFlow(client, name, protocol, port)));
  const decisions = [...byName, byAddress];
  // Allowed and refused all the same: it was not open at that moment, and is when it is tried again.
  if (decisions.some(({ verdict }) => verdict === "allow")) return plain("not-ready");
  const denials = decisions.filter((decision) => decision.verdict === "deny");
  const denial = denials.find(({ reason }) => reason === "port-not-allowed") ?? denials.at(-1);
  return denial === undefined ? plain("ip-not-allowed") : { reason: denial.reason, near: denial };
}

/** What an audit hides: the packet is told of because of it. */
function enforced(decision: Decision): Decision {
  return decision.verdict === "allow" ? (decision.wouldDeny ?? decision) : decision;
}

function plain(reason: Reason): Verdict {
  return { reason, near: null };
}

/** What the rules of `nft-refuse.ts` do. */
function actionOf({ origin, protocol }: RefusedPacket): DenyAction {
  if (origin === "audit") return "pass";
  if (origin === "spoofed" || origin === "routed") return "drop";
  return protocol === "tcp" ? "rst" : "icmp";
}
