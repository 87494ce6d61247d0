import type { LabStream } from "../lab/client.ts";
import { RACE_NAMES } from "../lab/zones.ts";
import { packetPolicy } from "./packet-policy.ts";
import { echoRequest, ipPacket, protocols, sctpInit, tcpSegment, udpDatagram } from "./packets.ts";
import { matches, readAllRecords } from "./records.ts";
import { revokeOnce } from "./revocation.ts";
import { type Attempt, each, gainedIf, insist, type Scenario, tried, triedName } from "./scenario.ts";
import { ownPorts, type Scene, type StageOptions, sidePorts } from "./scene.ts";

/** WI…: packets to addresses, of every protocol and from every source. */

export const packetStage: StageOptions = async (lab) => {
  const link = await lab.execChecked("agent2", ["ip", "-o", "link", "show", "type", "veth"]);
  const mac = /link\/ether ([0-9a-f:]{17})/.exec(link)?.[1] ?? "";
  return { policy: packetPolicy("b.allowed.test"), config: { hosts: { privileged: { interface: "lan0", mac } } } };
};

const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.connect("a.allowed.test", 443, scene.by));
};
const connect = async (scene: Scene, host: string, port: number): Promise<Attempt> =>
  tried(`${host}:${port}`, await scene.client.connect(host, port));
const unresolved = (destination: string) => [{ plane: "ip", reason: "ip-not-allowed", destination }];

/** The privileged host asks for the only name that is its own, from where it is. */
const askElsewhere = async ({ lab, by, family }: Scene, name: string): Promise<void> => {
  const type = family === 4 ? "A" : "AAAA";
  insist(name, await lab.client("agent2").resolve(name, { server: by.resolver, type }));
};

export const packetScenarios: readonly Scenario[] = [
  {
    id: "WI1",
    title: "the address of a denied name, hard-coded",
    attack: (scene) => each([443, 80], (port) => connect(scene, scene.service(40), port)),
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }] }),
    control: connectAllowed,
    records: (scene) => unresolved(scene.service(40)),
  },
  {
    id: "WI2",
    title: "the address of an allowed name that this client never asked for",
    attack: async (scene) => {
      await askElsewhere(scene, "www.allowed.test");
      return await each([10, 11, 12].map(scene.service), (host) => connect(scene, host, 443));
    },
    forbidden: (scene) => ({ packets: [10, 11, 12].map((n) => ({ to: scene.service(n), port: 443 })) }),
    control: connectAllowed,
    records: (scene) => unresolved(scene.service(10)),
  },
  {
    id: "WI3",
    title: "an address that another client was given",
    attack: async (scene) => {
      await askElsewhere(scene, "www.allowed.test");
      return [await connect(scene, scene.service(12), 443)];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(12) }] }),
    control: async (scene) => {
      const { lab, service } = scene;
      if (scene.gateway !== null) insist("the other client", await lab.client("agent2").connect(service(12), 443));
      await connectAllowed(scene);
    },
    records: (scene) => unresolved(scene.service(12)),
  },
  {
    id: "WI4",
    title: "other ports of an allowed address",
    attack: async (scene) => {
      await connectAllowed(scene);
      const [server, name] = [scene.service(10), `${scene.fresh()}.denied.test`];
      return [
        ...(await each([22, 8080, 7002, 853], (port) => connect(scene, server, port))),
        triedName("port 53", await scene.client.resolve(name, { server })),
      ];
    },
    forbidden: (scene) => ({
      packets: [22, 8080, 7002, 853, 53].map((port) => ({ to: scene.service(10), port })),
    }),
    control: connectAllowed,
    records: (scene) => [{ plane: "ip", reason: "port-not-allowed", destination: scene.service(10), port: 22 }],
  },
  {
    id: "WI5",
    title: "an answer whose time is over: no new connection, and those that run go on",
    attack: async (scene) => {
      const stream = await openStream(scene, "a.allowed.test", 80);
      await endPins(scene);
      await new Promise((resolve) => setTimeout(resolve, 1_300));
      const attempt = await connect(scene, scene.service(10), 443);
      const { state, silentMs } = await stream.state();
      await stream.close();
      if (state !== "open" || silentMs > 1_000) throw new Error(`the running connection is ${state}`);
      return [attempt];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(10), port: 443 }] }),
    control: async (scene) => insist("b.allowed.test", await scene.client.connect("b.allowed.test", 443, scene.by)),
    records: (scene) => [{ plane: "ip", destination: scene.service(10), port: 443, reason: "not-ready" }],
  },
  {
    id: "WI6",
    title: "a name with rotating addresses: all that were answered, and none beside them",
    attack: async (scene) => {
      await answeredAddresses(scene);
      return await each([127, 144].map(scene.service), (host) => connect(scene, host, 443));
    },
    forbidden: (scene) => ({ packets: [127, 144].map((n) => ({ to: scene.service(n) })) }),
    control: async (scene) => {
      for (const address of await answeredAddresses(scene)) {
        insist(address, await scene.client.connect(address, 443));
      }
    },
    records: (scene) => unresolved(scene.service(144)),
  },
  {
    id: "WI7",
    title: "1,000 connections at once after their answers, and none before",
    attack: (scene) =>
      each(
        [1, 2, 3].map((n) => raceAddress(scene, n)),
        (host) => connect(scene, host, 443),
      ),
    forbidden: (scene) => ({ packets: [1, 2, 3].map((n) => ({ to: raceAddress(scene, n) })) }),
    control: async (scene) => {
      const names = Array.from({ length: RACE_NAMES }, (_, n) => `r${n}.race.test`);
      const results = await scene.client.batch(
        names.map((host) => ({ ...scene.by, method: "connect", host, port: 443, timeoutMs: 5_000 })),
      );
      const lost = results.filter((result) => result["outcome"] !== "connected");
      if (lost.length > 0) throw new Error(`${lost.length} first connections lost: ${JSON.stringify(lost[0])}`);
    },
    records: (scene) => unresolved(raceAddress(scene, 1)),
  },
  {
    id: "WI8",
    title: "QUIC to an allowed host",
    attack: async (scene) => [tried("UDP 443", await scene.client.udp("a.allowed.test", 443, scene.by))],
    forbidden: (scene) => ({ packets: [{ to: scene.service(10), protocol: "udp", port: 443 }] }),
    control: connectAllowed,
    records: (scene) => [
      {
        plane: "ip",
        reason: "port-not-allowed",
        destination: scene.service(10),
        port: 443,
        protocol: "udp",
        action: "icmp",
      },
    ],
  },
  {
    id: "WI9",
    title: "NTP, WireGuard, STUN, SCTP, GRE, IP in IP, ESP and a protocol of no name, to an allowed address",
    attack: async (scene) => {
      await connectAllowed(scene);
      const to = scene.service(10);
      const udp = oddUdpPorts.map((toPort) =>
        udpDatagram({ from: scene.own, to, fromPort: 40_000, toPort }, Buffer.from("x")),
      );
      await scene.client.raw([
        ...udp.map((payload) => packet(scene, to, protocols.udp, payload)),
        packet(scene, to, protocols.sctp, sctpInit(40_000, 443)),
        packet(scene, to, protocols.gre, Buffer.from("0000080045000000", "hex")),
        ...otherProtocols.map((protocol) => packet(scene, to, protocol, Buffer.alloc(32, 1))),
      ]);
      return [];
    },
    forbidden: (scene) => {
      const to = scene.service(10);
      const others = ["sctp", "gre", "ipencap", "esp", "253"].map((protocol) => ({ to, protocol }));
      return { packets: [...others, ...oddUdpPorts.map((port) => ({ to, protocol: "udp", port }))] };
    },
    control: connectAllowed,
    records: (scene) => [
      { plane: "ip", reason: "proto-not-allowed", destination: scene.service(10) },
      { plane: "ip", reason: "port-not-allowed", destination: scene.service(10), protocol: "udp" },
    ],
  },
  {
    id: "WI10",
    title: "echo requests with data, and errors about flows that nobody has",
    attack: async (scene) => {
      await connectAllowed(scene);
      const [to, icmp] = [scene.service(10), scene.family === 4 ? protocols.icmp : protocols.icmpv6];
      const unreachable = Buffer.concat([
        Buffer.from(scene.family === 4 ? "0304000000000500" : "0200000000000500", "hex"),
        Buffer.alloc(40, 1),
      ]);
      await scene.client.raw([
        packet(scene, to, icmp, echoRequest(scene.own, to, Buffer.alloc(900, "secret"))),
        packet(scene, to, icmp, unreachable),
      ]);
      const ping = await scene.lab.exec("agent1", ["ping", "-c1", "-W1", to]);
      return [gainedIf("ping", ping.exitCode === 0)];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(10), protocol: scene.family === 4 ? "icmp" : "icmpv6" }] }),
    control: async (scene) => {
      // Nobody listens there, and the far machine's own ICMP says so: what belongs to an allowed flow passes.
      const answer = await scene.client.udp("a.allowed.test", 7009, scene.by);
      const { packets } = await scene.lab.packets({ to: scene.service(10), protocol: "udp", port: 7009 });
      if (answer.outcome !== "refused" || answer.code !== "ECONNREFUSED" || packets === 0) {
        throw new Error(`the far machine's error does not come back: ${JSON.stringify(answer)}, ${packets} packets`);
      }
    },
    records: (scene) => [{ plane: "ip", reason: "proto-not-allowed", destination: scene.service(10) }],
  },
  {
    id: "WI11",
    title: "IPv4 in the clothes of IPv6: 6to4, Teredo, NAT64, mapped, 6in4",
    families: [6],
    attack: async (scene) => {
      const wrapped = ["2002:cb00:710a::1", "2001:0:cb00:710a::1", "64:ff9b::cb00:710a"];
      const inner = ipPacket({
        from: scene.machine.v6,
        to: scene.service(40),
        protocol: protocols.tcp,
        payload: tcpSegment({ from: scene.machine.v6, to: scene.service(40), fromPort: 40_000, toPort: 443 }, 2),
      });
      await scene.client.raw([
        {
          to: "203.0.113.40",
          bytes: ipPacket({
            from: scene.machine.v4,
            to: "203.0.113.40",
            protocol: protocols.sixInFour,
            payload: inner,
          }),
        },
      ]);
      return await each([...wrapped, "::ffff:203.0.113.40"], (host) => connect(scene, host, 443));
    },
    forbidden: () => ({ packets: [{ to: "203.0.113.40" }, { to: "2002:cb00:710a::1" }, { to: "64:ff9b::cb00:710a" }] }),
    control: async (scene) => {
      // Neighbours are found, and a name with both families is as reachable in one as in the other.
      for (const family of [4, 6] as const) {
        const resolver = scene.lab.addresses.lan[`v${family}`];
        insist(`IPv${family}`, await scene.client.connect("a.allowed.test", 443, { family, resolver }));
      }
      const ping = await scene.lab.exec("agent1", ["ping", "-c1", "-W1", scene.by.resolver]);
      if (ping.exitCode !== 0) throw new Error("the gateway does not answer a ping over IPv6");
    },
    records: () => [{ plane: "ip", reason: "ip-not-allowed", destination: "64:ff9b::cb00:710a" }],
  },
  {
    id: "WI13",
    title: "the address of a host that may do more, from another machine and from another network",
    attack: async ({ lab, family, service }) => {
      const [unused, privileged] = family === 4 ? ["10.80.0.12", "10.80.0.11"] : ["fd80::12", "fd80::11"];
      await lab.client("stray").raw([synFrom(unused, service(62))]);
      await lab.client("guest").raw([synFrom(privileged, service(62))]);
      return [];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(62) }] }),
    control: async (scene) => {
      insist("the host itself", await scene.lab.client("agent2").connect(scene.service(62), 443));
    },
    records: ({ family }) => {
      const clients = family === 4 ? ["10.80.0.12", "10.80.0.11"] : ["fd80::12", "fd80::11"];
      return clients.map((client) => ({ plane: "ip", reason: "spoofed-source", client }));
    },
  },
  {
    id: "WI14",
    title: "a source of no network that the gateway knows",
    attack: async (scene) => {
      await scene.lab.client("stray").raw([synFrom(strangerOf(scene), scene.service(40))]);
      return [];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }] }),
    control: connectAllowed,
    records: (scene) => [{ plane: "ip", reason: "spoofed-source", client: strangerOf(scene) }],
  },
  {
    id: "WI16",
    title: "a commit takes the name away while its connection is open",
    attack: async (scene) => [gainedIf("it goes on", (await revokeOnce(scene))[scene.family].isTcpAlive)],
    control: connectAllowed,
    records: async (scene) => (await revokeOnce(scene))[scene.family].records.slice(0, 1),
  },
  {
    id: "WI17",
    title: "the same with a UDP flow, a TLS stream and a half-open connection",
    attack: async (scene) => {
      const { isTlsAlive, packetsAfter } = (await revokeOnce(scene))[scene.family];
      return [gainedIf("TLS goes on", isTlsAlive), gainedIf(`${packetsAfter} packets after`, packetsAfter > 0)];
    },
    control: connectAllowed,
    records: async (scene) => (await revokeOnce(scene))[scene.family].records.slice(1),
  },
  {
    id: "WI18",
    title: "what the next policy still allows goes on, and nothing else",
    attack: async (scene) => [gainedIf("the other", (await revokeOnce(scene))[scene.family].isTcpAlive)],
    control: async (scene) => {
      const { isKeptAlive, kept } = (await revokeOnce(scene))[scene.family];
      if (!isKeptAlive) throw new Error("a flow that is allowed was ended");
      const told = (await readAllRecords(scene)).filter((record) => matches(record, { ...kept, port: 80 }));
      if (told.length > 0) throw new Error(`a flow that is allowed was recorded: ${JSON.stringify(told[0])}`);
    },
    records: async (scene) => (await revokeOnce(scene))[scene.family].records,
  },
  {
    id: "WI21",
    title: "the gateway as a relay: what listens on it, and its own services",
    attack: async (scene) => {
      const sides = [scene.lab.addresses.lan, scene.lab.addresses.wan].map((pair) => pair[`v${scene.family}`]);
      const ports = [sidePorts.relay, ...ownPorts];
      const relay = await each(sides, async (host) =>
        tried(
          `${host}:${sidePorts.relay}`,
          await scene.client.exchange(host, sidePorts.relay, "GET / HTTP/1.0\r\n\r\n"),
        ),
      );
      return [
        ...relay,
        ...(await each(
          sides.flatMap((host) => ports.map((port) => ({ host, port }))),
          ({ host, port }) => connect(scene, host, port),
        )),
      ];
    },
    control: connectAllowed,
    records: () => [{ plane: "ip", reason: "gateway-port", port: sidePorts.relay }],
  },
  {
    id: "WI22",
    title: "another client network and the management side",
    attack: (scene) => {
      const { guest, admin } = scene.lab.addresses;
      return each(
        [guest, admin].map((pair) => pair[`v${scene.family}`]),
        (host) => connect(scene, host, sidePorts.hello),
      );
    },
    control: connectAllowed,
    records: (scene) => {
      const { guest, admin } = scene.lab.addresses;
      const key = `v${scene.family}` as const;
      return [
        { plane: "ip", reason: "between-clients", destination: guest[key] },
        { plane: "ip", reason: "ip-not-allowed", destination: admin[key] },
      ];
    },
  },
];

const oddUdpPorts = [123, 51_820, 3_478] as const;
const otherProtocols = [protocols.ipip, protocols.esp, protocols.experiment];

function packet(scene: Scene, to: string, protocol: number, payload: Buffer) {
  return { to, bytes: ipPacket({ from: scene.own, to, protocol, payload }) };
}

function raceAddress({ family }: Scene, n: number): string {
  return family === 4 ? `198.18.0.${n}` : `2001:db8:1::1:${n}`;
}

const strangerOf = ({ family }: Scene): string => (family === 4 ? "198.51.77.9" : "2001:db8:bad::9");

/** The first packet of a connection, from whatever address. */
function synFrom(from: string, to: string) {
  const payload = tcpSegment({ from, to, fromPort: 40_000, toPort: 443 }, 2);
  return { to, bytes: ipPacket({ from, to, protocol: protocols.tcp, payload }) };
}

async function openStream(scene: Scene, host: string, port: number): Promise<LabStream> {
  const result = await scene.client.stream(host, port, scene.by);
  if (result.outcome !== "connected") throw new Error(`${host}:${port}: ${JSON.stringify(result)}`);
  return result.stream;
}

async function answeredAddresses(scene: Scene): Promise<readonly string[]> {
  const type = scene.family === 4 ? "A" : "AAAA";
  const answer = await scene.client.resolve("rotate.allowed.test", { server: scene.by.resolver, type });
  if (answer.outcome !== "answer" || answer.addresses.length < 8) throw new Error(JSON.stringify(answer));
  return answer.addresses;
}

/** Leaves the machine's pins a second: a minute and a half is what the shortest answer has. */
async function endPins({ lab, gateway, own, family }: Scene): Promise<void> {
  if (gateway === null) return;
  const map = `inet clawgress pin${family}`;
  const text = await lab.execChecked("gateway", ["nft", "list", "map", ...map.split(" ")]);
  const found = [...text.matchAll(/(\S+) \. (\S+) \. (\S+) timeout \S+ expires \S+ : (\w+)/g)];
  const pins = found.filter(([, client]) => client === own);
  if (pins.length === 0) throw new Error(`no pins of ${own}: ${text}`);
  const lines = pins.flatMap(([, client, address, portClass, grant]) => {
    const key = `${client} . ${address} . ${portClass}`;
    return [`delete element ${map} { ${key} }`, `add element ${map} { ${key} timeout 1s : ${grant} }`];
  });
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: `${lines.join("\n")}\n` });
}
