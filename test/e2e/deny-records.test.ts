import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DenyRecord } from "../../agent/gate/deny-record.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { addressBytes, ipPacket, protocols, udpDatagram } from "../battery/packets.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { awaitRecords, readRecords } from "../support/deny-records.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Every denial is told: who, what, why, by which policy; at a question and at a packet alike. */

const policy = {
  version: 1,
  allow: {
    domains: ["a.allowed.test", "b.allowed.test", "*.wild.test"],
    ips: ["203.0.113.60/31", "2001:db8:1::60/127"],
    ports: [80, 443],
  },
  labels: { "a.allowed.test": "llm-provider" },
  hosts: {
    "agent-2": {
      sources: ["10.80.0.11/32", "fd80::11/128"],
      allow: { domains: ["b.allowed.test"], ips: ["203.0.113.62/32"], ports: [443] },
    },
  },
};

const ROUTING_HEADER = 43;
const LOOSE_SOURCE_ROUTE = 131;

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
let commit: string;
let run: string;

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  gateway = await setUpGateway(lab, { policy });
  run = join(gateway.folder, "run");
  agent = gateway.start();
  commit = await gateway.head();
  await gateway.awaitStatus(commit, ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

const ours = () => ({ schema: 1, gateway: "gw-lab", verdict: "deny", commit, serial: 1 });
const addressOf = (client: "agent1" | "agent2" | "stray", family: 4 | 6): string =>
  lab.addresses[client][family === 4 ? "v4" : "v6"];

/** Resolves with the one new record of a client that fulfils a condition after something was done. */
async function recordOf(
  client: string,
  isWanted: (record: DenyRecord) => boolean,
  act: () => Promise<unknown>,
): Promise<DenyRecord> {
  const before = (await readRecords(run)).length;
  await act();
  const [record] = await awaitRecords(run, (candidate) => candidate.client === client && isWanted(candidate)).then(
    async () => (await readRecords(run)).slice(before).filter((one) => one.client === client && isWanted(one)),
  );
  if (record === undefined) throw new Error("no new record");
  return record;
}

describe.each([["IPv4", 4] as const, ["IPv6", 6] as const])("over %s", (_, family) => {
  const service = (n: string): string => (family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n}`);

  test("a denied name: the question, and the rule that almost allowed it", async () => {
    const server = lab.addresses.lan[family === 4 ? "v4" : "v6"];
    const client = lab.client("agent1");
    expect(await client.resolve("a.allowed.test", { server })).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
    const name = `x${family}.a.allowed.test`;
    const record = await recordOf(
      addressOf("agent1", family),
      (one) => one.name === name,
      async () => expect(await client.resolve(name, { server })).toMatchObject({ rcode: "NXDOMAIN" }),
    );
    expect(record).toMatchObject({
      ...ours(),
      ...{ plane: "dns", reason: "dns-not-allowed", host: null, group: "*", type: "A", action: "nxdomain" },
      ...{
        label: "llm-provider",
        nearMiss: "a.allowed.test is listed, but not its subdomains",
        count: 1,
        suppressed: 0,
      },
      rule: { file: "policy.json", line: 5, pointer: "/allow/domains/0" },
    });
  });

  test("a denied address: refused at once, and recorded with the host entry", async () => {
    const client = lab.client("agent2");
    const target = service("20");
    const record = await recordOf(
      addressOf("agent2", family),
      (one) => one.destination === target,
      async () => {
        const result = await client.connect(target, 443);
        expect(result).toMatchObject({ outcome: "refused", code: "ECONNREFUSED" });
        expect(result.ms).toBeLessThan(500);
      },
    );
    expect(record).toMatchObject({
      ...ours(),
      ...{ plane: "ip", reason: "ip-not-allowed", host: "agent-2", group: "agent-2", interface: "lan0" },
      ...{ destination: target, port: 443, protocol: "tcp", names: null, action: "rst" },
    });
  });

  test("an address that another host may reach: who may, and where that is written", async () => {
    const target = service("60");
    const record = await recordOf(
      addressOf("agent2", family),
      (one) => one.destination === target,
      async () => expect(await lab.client("agent2").connect(target, 443)).toMatchObject({ outcome: "refused" }),
    );
    expect(record).toMatchObject({ reason: "ip-not-allowed", rule: { pointer: `/allow/ips/${family === 4 ? 0 : 1}` } });
    expect(record.nearMiss).toMatch(/is allowed for clients without an allow list of their own$/);
  });

  test("a port that is not listed: of an allowed name with the name, of a network with the network", async () => {
    const client = lab.client("agent1");
    expect(await client.connect("a.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
    const [pinned = ""] = lab.names["a.allowed.test"][family === 4 ? "v4" : "v6"];
    const byName = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === pinned,
      async () =>
        expect(await client.connect("a.allowed.test", 8080, { family })).toMatchObject({ outcome: "refused" }),
    );
    expect(byName).toMatchObject({
      ...ours(),
      ...{ plane: "ip", reason: "port-not-allowed", port: 8080, names: ["a.allowed.test"], label: "llm-provider" },
      ...{ nearMiss: "a.allowed.test is allowed on 80/tcp, 443/tcp", rule: { pointer: "/allow/domains/0" } },
    });
    const network = service("61");
    const byNetwork = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === network,
      async () => expect(await client.connect(network, 22)).toMatchObject({ outcome: "refused" }),
    );
    expect(byNetwork).toMatchObject({ reason: "port-not-allowed", names: null, port: 22 });
  });

  test("UDP and other protocols are answered with an ICMP error and recorded", async () => {
    const target = service("21");
    const udp = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === target && one.protocol === "udp",
      async () => expect(await lab.client("agent1").udp(target, 443)).toMatchObject({ outcome: "refused" }),
    );
    expect(udp).toMatchObject({ reason: "ip-not-allowed", port: 443, action: "icmp" });
    const ping = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === target && one.protocol === (family === 4 ? "icmp" : "icmpv6"),
      async () => expect((await lab.exec("agent1", ["ping", "-c1", "-W1", target])).exitCode).not.toBe(0),
    );
    expect(ping).toMatchObject({ reason: "proto-not-allowed", port: null, action: "icmp" });
  });

  test("what belongs to the gateway, other clients, and connections from outside", async () => {
    const own = lab.addresses.lan[family === 4 ? "v4" : "v6"];
    const toGateway = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === own,
      async () => expect(await lab.client("agent1").connect(own, 22)).toMatchObject({ outcome: "refused" }),
    );
    expect(toGateway).toMatchObject({ plane: "ip", reason: "gateway-port", port: 22, action: "rst" });
    const guest = lab.addresses.guest[family === 4 ? "v4" : "v6"];
    const toClient = await recordOf(
      addressOf("agent1", family),
      (one) => one.destination === guest,
      async () => expect(await lab.client("agent1").connect(guest, 22)).toMatchObject({ outcome: "refused" }),
    );
    expect(toClient).toMatchObject({ reason: "between-clients" });
    const inside = addressOf("agent1", family);
    const outside = lab.addresses.internet[family === 4 ? "v4" : "v6"];
    const inbound = await recordOf(
      outside,
      (one) => one.destination === inside,
      async () =>
        await lab.exec("internet", ["curl", "-sm2", family === 4 ? `http://${inside}/` : `http://[${inside}]/`]),
    );
    expect(inbound).toMatchObject({ reason: "from-outside", port: 80, interface: "wan0", host: null, group: null });
  });

  test("a source that is not of where it comes from is dropped in silence, and recorded", async () => {
    const spoofed = family === 4 ? "198.18.0.9" : "2001:db8:bad::9";
    const add = family === 4 ? [`${spoofed}/32`, "dev", "eth0"] : [`${spoofed}/128`, "dev", "eth0", "nodad"];
    await lab.execChecked("stray", ["ip", "addr", "add", ...add]);
    const record = await recordOf(
      spoofed,
      () => true,
      async () =>
        expect(await lab.client("stray").udp(service("60"), 443, { source: spoofed, timeoutMs: 300 })).toMatchObject({
          outcome: "timeout",
        }),
    );
    expect(record).toMatchObject({ reason: "spoofed-source", action: "drop", interface: "lan0", names: null });
  });

  test("a packet that says by which way it wants to go, or that comes from neither side, is dropped or refused", async () => {
    const [from, to] = [addressOf("agent1", family), service("60")];
    const routed = await recordOf(
      from,
      (one) => one.destination === to && one.reason === "source-route",
      async () => await lab.client("agent1").raw([{ to, bytes: sourceRouted(from, to, service("61")) }]),
    );
    expect(routed).toMatchObject({ plane: "ip", action: "drop", interface: "lan0", names: null });
    const [version, network, via] =
      family === 4 ? ["-4", "10.99.0.0/24", lab.addresses.wan.v4] : ["-6", "fd99::/64", lab.addresses.wan.v6];
    await lab.execChecked("internet", ["ip", version, "route", "add", network, "via", via]);
    const [outside, admin] = [lab.addresses.internet, lab.addresses.admin].map((pair) => pair[`v${family}`]);
    const unknown = await recordOf(
      outside ?? "",
      (one) => one.destination === admin,
      async () =>
        await lab.exec("internet", ["curl", "-sm2", family === 4 ? `http://${admin}/` : `http://[${admin}]/`]),
    );
    expect(unknown).toMatchObject({ plane: "ip", reason: "host-unknown", port: 80, interface: "wan0", host: null });
  });

  test("a question without a question is malformed, and recorded", async () => {
    const own = lab.addresses.lan[`v${family}`];
    const message = Buffer.from("000c123401000001000000000000", "hex");
    const record = await recordOf(
      addressOf("agent1", family),
      (one) => one.reason === "dns-malformed",
      async () => await lab.client("agent1").exchange(own, 53, message, { timeoutMs: 500 }),
    );
    expect(record).toMatchObject({ plane: "dns", action: "formerr", name: null, severity: "medium" });
  });
});

test("a flow that a commit ends is recorded by the policy that ended it, whichever side speaks first", async () => {
  const client = lab.client("agent1");
  const stream = await client.stream("b.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  const next = await gateway.commit({ ...policy, allow: { ...policy.allow, domains: ["a.allowed.test"] } });
  await gateway.awaitStatus(next, ["success"]);
  const [far = ""] = lab.names["b.allowed.test"].v4;
  const [record] = await awaitRecords(run, (one) => one.destination === far);
  expect(record).toMatchObject({ client: lab.addresses.agent1.v4, port: 80, protocol: "tcp", commit: next, serial: 2 });
  expect(record).toMatchObject({ reason: "ip-not-allowed", action: "rst" });
  commit = next;
});

/** A datagram with a source route of IPv4, or a routing header of IPv6. */
function sourceRouted(from: string, to: string, over: string): Buffer {
  const payload = udpDatagram({ from, to, fromPort: 40_000, toPort: 443 }, Buffer.from("x"));
  if (to.includes(":")) {
    const header = Buffer.concat([Buffer.from([protocols.udp, 2, 0, 1, 0, 0, 0, 0]), addressBytes(over)]);
    return ipPacket({ from, to, protocol: ROUTING_HEADER, payload: Buffer.concat([header, payload]) });
  }
  const option = Buffer.concat([Buffer.from([LOOSE_SOURCE_ROUTE, 7, 4]), addressBytes(over), Buffer.alloc(1)]);
  const packet = ipPacket({ from, to, protocol: protocols.udp, payload: Buffer.concat([option, payload]) });
  // The header is two words longer; the kernel sums it up.
  packet[0] = 0x47;
  return packet;
}

async function pidOf(file: string): Promise<number> {
  return (JSON.parse(await readFile(join(run, file), "utf8")) as { readonly pid: number }).pid;
}

/** Connects in vain until a record says so: when a new ulogd has begun to listen, nobody tells. */
async function connectUntilTold(address: string): Promise<DenyRecord> {
  let told: DenyRecord | undefined;
  await eventually(`a packet to ${address} is told of`, async () => {
    expect(await lab.client("agent1").connect(address, 443)).toMatchObject({ outcome: "refused" });
    await sleepMs(100);
    told = (await readRecords(run)).find(({ destination }) => destination === address);
    return told !== undefined;
  });
  if (told === undefined) throw new Error("no record");
  return told;
}

test("without ulogd what is denied stays denied and is counted; it is back by itself", async () => {
  const old = await pidOf("ulogd.pid.json");
  process.kill(old, "SIGKILL");
  await lab.mark();
  const target = "203.0.113.30";
  expect(await lab.client("agent1").connect(target, 443)).toMatchObject({ outcome: "refused" });
  expect((await lab.packets({ to: target })).packets).toBe(0);
  for (let attempt = 0; (await pidOf("ulogd.pid.json")) === old; attempt++) {
    if (attempt > 100) throw new Error("ulogd is not started again");
    await sleepMs(50);
  }
  const next = await connectUntilTold("203.0.113.41");
  // What nobody told is counted in a closing line of the same client and reason.
  const isLater = (one: DenyRecord) => one.client === next.client && one.reason === next.reason && one.ts >= next.ts;
  await awaitRecords(run, (one) => isLater(one) && one.count > next.count);
});

test("a gate that is started again hears of packets again", async () => {
  const old = await pidOf("ulogd.pid.json");
  process.kill(await pidOf("gate.pid.json"), "SIGKILL");
  for (let attempt = 0; (await pidOf("ulogd.pid.json")) === old; attempt++) {
    if (attempt > 200) throw new Error("ulogd does not follow the gate");
    await sleepMs(50);
  }
  const record = await connectUntilTold("203.0.113.42");
  expect(record).toMatchObject({ client: lab.addresses.agent1.v4, reason: "ip-not-allowed", commit });
});

test("only the gate's user and root may speak to the socket", async () => {
  expect((await stat(join(run, "gate", "packets.sock"))).mode & 0o777).toBe(0o600);
});
