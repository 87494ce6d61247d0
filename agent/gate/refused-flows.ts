import { refusedFlowSets } from "../compile/nft-refuse.ts";
import { formatAddress, parseAddress } from "../policy/cidr.ts";
import type { RefusedPacket } from "./packet-line.ts";

/** What a flow's counter in the kernel is of; as text it is the flow's name. */
export type RefusedFlow = Pick<
  RefusedPacket,
  "isOverCap" | "source" | "destination" | "destinationPort" | "protocol" | "outInterface"
> & {
  readonly origin: "forward" | "input";
};

/** Returns the name of the flow of a packet; null for one that is not counted by flow. */
export function flowOfPacket({ origin, protocol, destinationPort, ...packet }: RefusedPacket): string | null {
  if (origin !== "forward" && origin !== "input") return null;
  if ((protocol !== "tcp" && protocol !== "udp") || destinationPort === null) return null;
  const outInterface = origin === "forward" ? packet.outInterface : null;
  return flowText({ ...packet, origin, protocol, destinationPort, outInterface });
}

function flowText(flow: RefusedFlow): string {
  const { source, destination, protocol, destinationPort, outInterface } = flow;
  const origin = flow.isOverCap ? "overCap" : flow.origin;
  return [origin, source, destination, protocol, destinationPort, outInterface ?? ""].join(" ");
}

/** Returns the flow that a name is of. */
export function parseFlow(text: string): RefusedFlow {
  const [origin = "", source = "", destination = "", protocol = "", port = "", outInterface = ""] = text.split(" ");
  return {
    origin: origin === "input" ? "input" : "forward",
    isOverCap: origin === "overCap",
    ...{ source, destination, protocol },
    destinationPort: Number(port),
    outInterface: outInterface === "" ? null : outInterface,
  };
}

/** Returns flow → packets refused, of the elements of all sets. What is no element of ours is left out. */
export function parseFlowCounts(
  sets: readonly { readonly name: string; readonly elements: readonly unknown[] }[],
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { name, elements } of sets) {
    const origin = isOneOf(refusedFlowSets.input, name) ? "input" : "forward";
    const isOverCap = isOneOf(refusedFlowSets.overCap, name);
    for (const element of elements) {
      const { elem } = element as { elem?: { val?: { concat?: unknown }; counter?: { packets?: unknown } } };
      const packets = elem?.counter?.packets;
      const flow = parseConcat({ origin, isOverCap }, elem?.val?.concat);
      if (flow !== null && typeof packets === "number") counts.set(flow, packets);
    }
  }
  return counts;
}

function isOneOf(names: readonly string[], name: string): boolean {
  return names.includes(name);
}

function parseConcat(kind: Pick<RefusedFlow, "origin" | "isOverCap">, concat: unknown): string | null {
  if (!Array.isArray(concat)) return null;
  const [source, destination, protocol, port, leaves] = concat as readonly unknown[];
  const [from, to] = [parseAddress(String(source)), parseAddress(String(destination))];
  const outInterface = typeof leaves === "string" ? leaves : null;
  if (from === null || to === null || typeof port !== "number") return null;
  return flowText({
    ...kind,
    source: formatAddress(from),
    destination: formatAddress(to),
    protocol: String(protocol),
    destinationPort: port,
    outInterface,
  });
}
