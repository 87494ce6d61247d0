import { pathsOf } from "../settings/paths.ts";
import { probeLink, type Settings } from "../settings/settings.ts";
import type { GateState } from "./answer-queries.ts";
import { packetDenial } from "./deny-packet.ts";
import type { DenyRecords } from "./deny-records.ts";
import { listenPackets } from "./listen-packets.ts";
import type { Listener } from "./listen-udp.ts";
import type { Meters } from "./meters.ts";
import type { Pins } from "./pins.ts";
import type { UntoldPackets } from "./untold-packets.ts";

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
    readonly untold: UntoldPackets;
    readonly meters: Pick<Meters, "usageOf">;
    readonly nowS: () => number;
  },
): Promise<Listener> {
  const { state, pins, records, untold, nowS } = parts;
  const { usageOf } = parts.meters;
  const clientInterfaces = new Set([...settings.interfaces.clients, probeLink.gatewayInterface]);
  const isClientInterface = (name: string): boolean => clientInterfaces.has(name);
  const namesOf = (client: string, address: string): readonly string[] => {
    const { policy } = state;
    const group = policy === null ? null : (policy.release.groups[policy.clientOf(client).group.name] ?? null);
    return pins.namesOf(client, group, address);
  };
  return await listenPackets(pathsOf(settings).packetSocket, nowS, (packet) => {
    const isCounted = packet.origin === "forward" || packet.origin === "input";
    const isOurs = packet.inInterface !== null && isClientInterface(packet.inInterface);
    if (isCounted && isOurs) untold.told(packet.source);
    records.note(packetDenial(packet, { policy: state.policy, namesOf, isClientInterface, usageOf }));
  });
}
