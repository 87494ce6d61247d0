import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { packetPolicy } from "./packet-policy.ts";
import { ipPacket, protocols, tcpSegment, udpDatagram } from "./packets.ts";
import type { Scene } from "./scene.ts";

/** What became of flows of one family once a commit took their name away. */
export interface Revoked {
  readonly isTcpAlive: boolean;
  readonly isTlsAlive: boolean;
  /** Of a UDP flow and of a half-open connection, that reached the far side later than a second after. */
  readonly packetsAfter: number;
  /** A flow of another name. */
  readonly isKeptAlive: boolean;
}

const SYN = 2;
const ACK = 16;

/** Takes b.allowed.test away from flows of both families, once for a stage, and puts it back. */
export function revokeOnce(scene: Scene): Promise<{ readonly [family in 4 | 6]: Revoked }> {
  return scene.once("revocation", async () => {
    const flows = { 4: await openFlows(scene, 4), 6: await openFlows(scene, 6) };
    await scene.enforce(packetPolicy());
    await sleepMs(1_000);
    await scene.lab.mark();
    for (const { sendAgain } of Object.values(flows)) await sendAgain();
    await sleepMs(300);
    const found = { 4: await flows[4].read(), 6: await flows[6].read() };
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
  const segment = (flags: number): Buffer => tcpSegment({ from, to, fromPort: 41_001, toPort: 7000 }, flags);
  const send = (protocol: number, payload: Buffer): Promise<void> =>
    client.raw([{ to, bytes: ipPacket({ from, to, protocol, payload }) }]);
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
    read: async (): Promise<Revoked> => {
      const found = {
        isTcpAlive: await isAlive(tcp),
        isTlsAlive: await isAlive(tls),
        packetsAfter: (await lab.packets({ to })).packets,
        isKeptAlive: await isAlive(kept),
      };
      for (const stream of [tcp, tls, kept]) await stream.close();
      return found;
    },
  };
}
