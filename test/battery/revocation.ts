import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { packetPolicy } from "./packet-policy.ts";
import { ipPacket, protocols, tcpSegment, udpDatagram } from "./packets.ts";
import type { WantedRecord } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** What became of flows of one family once a commit took their name away. */
export interface Revoked {
  readonly isTcpAlive: boolean;
  readonly isTlsAlive: boolean;
  /** Of a UDP flow and of a half-open connection, that reached the far side later than a second after. */
  readonly packetsAfter: number;
  /** A flow of another name. */
  readonly isKeptAlive: boolean;
  /** Records of the revoked flows: of TCP, of TLS, of UDP and of the half-open connection. */
  readonly records: readonly WantedRecord[];
  /** Where the flow led that stays. */
  readonly kept: { readonly client: string; readonly destination: string };
}

const SYN = 2;
const ACK = 16;
const HALF_OPEN_PORT = 41_001;
/** The far end answers again and again, and the gateway refuses that to its face: no packet of the client's. */
const noRefusals = `add table inet half_open
add chain inet half_open in { type filter hook prerouting priority -310; }
flush chain inet half_open in
add rule inet half_open in tcp dport 7000 tcp flags rst drop
`;
const noResets = `add table inet half_open
add chain inet half_open out { type filter hook output priority filter; }
flush chain inet half_open out
add rule inet half_open out tcp sport ${HALF_OPEN_PORT} tcp flags rst drop
`;

/** Takes b.allowed.test away from flows of both families, once for a stage, and puts it back. */
export function revokeOnce(scene: Scene): Promise<{ readonly [family in 4 | 6]: Revoked }> {
  return scene.once("revocation", async () => {
    const flows = { 4: await openFlows(scene, 4), 6: await openFlows(scene, 6) };
    await scene.enforce(packetPolicy());
    const commit = (await scene.gateway?.head()) ?? null;
    await sleepMs(1_000);
    await scene.lab.mark();
    for (const { sendAgain } of Object.values(flows)) await sendAgain();
    await sleepMs(300);
    const found = { 4: await flows[4].read(commit), 6: await flows[6].read(commit) };
    await scene.enforce(packetPolicy("b.allowed.test"));
    return found;
  });
}

async function openFlows(scene: Scene, family: 4 | 6) {
  const { lab, client, machine } = scene;
  const key = `v${family}` as const;
  const by = { family, resolver: lab.addresses.lan[key] };
  const [to = ""] = lab.names["b.allowed.test"][key];
  const from = machine[key];
  const open = async (name: string, port: number): Promise<LabStream> => {
    const result = await client.stream(name, port, by);
    if (result.outcome !== "connected") throw new Error(`${name}:${port}: ${JSON.stringify(result)}`);
    return result.stream;
  };
  const tcp = await open("b.allowed.test", 80);
  const tls = await open("b.allowed.test", 443);
  const kept = await open("a.allowed.test", 80);
  const udp = udpDatagram({ from, to, fromPort: 41_000, toPort: 7001 }, Buffer.from("x"));
  const segment = (flags: number): Buffer => tcpSegment({ from, to, fromPort: HALF_OPEN_PORT, toPort: 7000 }, flags);
  const send = (protocol: number, payload: Buffer): Promise<void> =>
    client.raw([{ to, bytes: ipPacket({ from, to, protocol, payload }) }]);
  // The client's kernel knows nothing of that connection, and would end it as soon as it is answered.
  await lab.execChecked("agent1", ["nft", "-f", "-"], { stdin: noResets });
  await lab.execChecked("internet", ["nft", "-f", "-"], { stdin: noRefusals });
  await send(protocols.udp, udp);
  await send(protocols.tcp, segment(SYN));
  const isAlive = async (stream: LabStream): Promise<boolean> => {
    const { state, silentMs } = await stream.state();
    return state === "open" && silentMs < 900;
  };
  return {
    sendAgain: async (): Promise<void> => {
      await send(protocols.udp, udp);
      await send(protocols.tcp, segment(ACK));
    },
    read: async (commit: string | null): Promise<Revoked> => {
      const denied = { client: from, plane: "ip", reason: "ip-not-allowed", destination: to, commit };
      const found = {
        isTcpAlive: await isAlive(tcp),
        isTlsAlive: await isAlive(tls),
        packetsAfter: (await lab.packets({ to })).packets,
        isKeptAlive: await isAlive(kept),
        records: [
          { ...denied, protocol: "tcp", port: 80, action: "rst" },
          { ...denied, protocol: "tcp", port: 443, action: "rst" },
          { ...denied, protocol: "udp", port: 7001, action: "icmp" },
          { ...denied, protocol: "tcp", port: 7000, action: "rst" },
        ],
        kept: { client: from, destination: lab.names["a.allowed.test"][key][0] ?? "" },
      };
      for (const stream of [tcp, tls, kept]) await stream.close();
      return found;
    },
  };
}
