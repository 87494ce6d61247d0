import type { Nftables } from "../host/nftables.ts";
import { pathsOf } from "../settings/paths.ts";
import { probeLink, type Settings } from "../settings/settings.ts";
import type { GateState } from "./answer-queries.ts";
import { type CountUntold, createCountUntold } from "./count-untold.ts";
import type { DecisionTally } from "./decision-tally.ts";
import { packetDenial } from "./deny-packet.ts";
import type { Denial } from "./deny-record.ts";
import type { DenyRecords } from "./deny-records.ts";
import { readRefusedCounts, readRefusedFlows } from "./kernel-read.ts";
import { listenPackets } from "./listen-packets.ts";
import type { Listener } from "./listen-udp.ts";
import type { Meters } from "./meters.ts";
import type { RefusedPacket } from "./packet-line.ts";
import type { Pins } from "./pins.ts";
import { flowOfPacket, parseFlow } from "./refused-flows.ts";

/**
 * Hears of refused packets and notes them, as the policy in force decides about them; returns when it listens.
 * @throws AgentError HOST_FILE when the socket cannot be made.
 */
export async function listenRefused(
  settings: Settings,
  parts: {
    readonly state: GateState;
    readonly pins: Pins;
    readonly records: DenyRecords;
    readonly tally: DecisionTally;
    readonly meters: Pick<Meters, "usageOf">;
    readonly nftables: Nftables;
    readonly nowS: () => number;
  },
): Promise<Listener & { readonly untold: CountUntold }> {
  const { state, pins, records, tally, nftables, nowS } = parts;
  const { usageOf } = parts.meters;
  const clientInterfaces = new Set([...settings.interfaces.clients, probeLink.gatewayInterface]);
  const isClientInterface = (name: string): boolean => clientInterfaces.has(name);
  const namesOf = (client: string, address: string): readonly string[] => {
    const { policy } = state;
    const group = policy === null ? null : (policy.release.groups[policy.clientOf(client).group.name] ?? null);
    return pins.namesOf(client, group, address);
  };
  const denialOf = (packet: RefusedPacket): Denial =>
    packetDenial(packet, { policy: state.policy, namesOf, isClientInterface, usageOf });
  const untold = createCountUntold({
    ...{ records, tally },
    readClients: () => readRefusedCounts(nftables),
    readFlows: () => readRefusedFlows(nftables),
    noteFlow: (flow, count) => {
      // Only packets that came from clients are counted so.
      const inInterface = settings.interfaces.clients[0] ?? null;
      tally.noteDenial(denialOf({ ...parseFlow(flow), sourcePort: null, inInterface }), count);
    },
  });
  const listener = await listenPackets(pathsOf(settings).packetSocket, nowS, (packet) => {
    const isCounted = packet.origin === "forward" || packet.origin === "input";
    const isOurs = packet.inInterface !== null && isClientInterface(packet.inInterface);
    if (isCounted && isOurs) untold.told(packet.source, flowOfPacket(packet));
    const denial = denialOf(packet);
    records.note(denial);
    tally.noteDenial(denial, 1);
  });
  return { ...listener, untold };
}
