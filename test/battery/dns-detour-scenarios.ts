import { ask, askAllowed, connectAllowed, notAllowed } from "./dns-stage.ts";
import { ipPacket, protocols, udpDatagram } from "./packets.ts";
import { each, insist, type Scenario, tried, triedName } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** WD8 to WD12: other resolvers, and other ways to ask them. */

export const dnsDetourScenarios: readonly Scenario[] = [
  {
    id: "WD8",
    title: "a resolver of the attacker's own, over UDP and TCP",
    attack: (scene) =>
      each(["udp", "tcp"] as const, async (transport) => {
        const name = `${scene.fresh()}.denied.test`;
        return triedName(transport, await ask(scene, name, { server: scene.service(40), transport, timeoutMs: 900 }));
      }),
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] }),
    control: async (scene) => {
      // The same way, the gate answers what the policy allows.
      const server = scene.gateway === null ? scene.by.resolver : scene.service(40);
      insist("a.allowed.test", await ask(scene, "a.allowed.test", { server }));
    },
    records: notAllowed,
  },
  {
    id: "WD9",
    title: "the gateway's own upstream resolver, asked directly",
    attack: (scene) =>
      each(["udp", "tcp"] as const, async (transport) => {
        const server = scene.lab.addresses.dns[`v${scene.family}`];
        return triedName(transport, await ask(scene, `${scene.fresh()}.denied.test`, { server, transport }));
      }),
    forbidden: () => ({ queries: ["*.denied.test"] }),
    control: askAllowed,
    records: notAllowed,
  },
  {
    id: "WD10",
    title: "DNS and its relatives on other ports of an allowed address",
    attack: async (scene) => {
      await connectAllowed(scene);
      const ports = [5353, 5300, 8053, 5355, 137];
      const packets = ports.map((port) => datagram(scene, scene.service(10), port));
      await scene.client.raw(packets);
      return await each(ports, async (port) =>
        tried(`TCP ${port}`, await scene.client.connect(scene.service(10), port, { timeoutMs: 1_500 })),
      );
    },
    forbidden: (scene) => ({
      packets: [5353, 5300, 8053, 5355, 137].map((port) => ({ to: scene.service(10), port })),
    }),
    control: connectAllowed,
    records: (scene) => [{ plane: "ip", reason: "port-not-allowed", destination: scene.service(10), protocol: "udp" }],
  },
  {
    id: "WD11",
    title: "DNS over TLS, over QUIC, and DNSCrypt",
    attack: async (scene) => {
      await connectAllowed(scene);
      const hosts = [10, 40].map(scene.service);
      await scene.client.raw(hosts.flatMap((host) => [853, 443].map((port) => datagram(scene, host, port))));
      return await each(hosts, async (host) => tried(`${host}:853`, await scene.client.connect(host, 853)));
    },
    forbidden: (scene) => ({
      packets: [
        { to: scene.service(40) },
        { to: scene.service(10), port: 853 },
        { to: scene.service(10), protocol: "udp" },
      ],
    }),
    control: connectAllowed,
    records: (scene) => [
      { plane: "ip", reason: "port-not-allowed", destination: scene.service(10), port: 853 },
      { plane: "ip", reason: "ip-not-allowed", destination: scene.service(40), port: 853 },
    ],
  },
  {
    id: "WD12",
    title: "DNS over HTTPS, by name and by address",
    attack: async (scene) => [
      tried("by name", await scene.client.get("www.denied.test", 443, { ...scene.by, path: "/dns-query" })),
      tried("by address", await scene.client.tls(scene.service(40), 443, { servername: "www.denied.test" })),
    ],
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] }),
    control: async (scene) => insist("HTTPS", await scene.client.get("a.allowed.test", 443, scene.by)),
    records: (scene) => [...notAllowed(), { plane: "ip", reason: "ip-not-allowed", destination: scene.service(40) }],
  },
];

function datagram(scene: Scene, to: string, toPort: number): { readonly to: string; readonly bytes: Buffer } {
  const payload = udpDatagram({ from: scene.own, to, fromPort: 40_000, toPort }, Buffer.from("query"));
  return { to, bytes: ipPacket({ from: scene.own, to, protocol: protocols.udp, payload }) };
}
