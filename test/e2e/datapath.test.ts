import { release } from "node:os";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream, StreamResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { at, families, other, quick, refused, target } from "../support/both-families.ts";
import { type Datapath, raiseDatapath } from "../support/datapath.ts";
import { PATIENCE } from "../support/eventually.ts";

let lab: Lab;
let path: Datapath;

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  path = await raiseDatapath(lab);
});
afterAll(async () => await lab?.stop());
beforeEach(async () => await lab.mark());

/** agent1 has its own rules, agent2 others; whoever else is there has none. */
function documentWith(agent1: object, agent2: object = { domains: ["none.example.com"] }): object {
  return {
    version: 1,
    allow: { domains: ["none.example.com"], ports: [9] },
    hosts: {
      agent1: { sources: [lab.addresses.agent1.v4, lab.addresses.agent1.v6], allow: agent1 },
      agent2: { sources: [lab.addresses.agent2.v4, lab.addresses.agent2.v6], allow: agent2 },
    },
  };
}

async function open(host: string, port: number, node: "agent1" | "agent2" = "agent1"): Promise<LabStream> {
  const result: StreamResult = await lab.client(node).stream(host, port);
  if (result.outcome !== "connected") throw new Error(`${host}:${port}: ${JSON.stringify(result)}`);
  return result.stream;
}

/** Whether an echo stream still works, both ways. */
async function echoes(stream: LabStream): Promise<boolean> {
  const before = (await stream.state()).bytes;
  await stream.write();
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const { state, bytes } = await stream.state();
    if (bytes > before) return true;
    if (state !== "open") return false;
    await sleepMs(25);
  }
  return false;
}

async function expectNothingOutside(): Promise<void> {
  expect(await lab.packets({ from: lab.addresses.agent1.v4 })).toMatchObject({ packets: 0 });
  expect((await lab.packets()).flows).toEqual([]);
}

describe("the base tables alone", () => {
  it.each(families)("refuse at once and let nothing out, over IPv%i", async (family) => {
    const client = lab.client("agent1");
    const tcp = await client.connect(at(target, family), 80, quick);
    const udp = await client.udp(at(target, family), 7001, quick);
    expect(tcp).toMatchObject({ ...refused, code: "ECONNREFUSED" });
    expect(udp).toMatchObject(refused);
    expect(Math.max(tcp.ms, udp.ms)).toBeLessThan(500);
    expect((await lab.exec("agent1", ["ping", "-c1", "-W1", at(target, family)])).exitCode).not.toBe(0);
    await expectNothingOutside();
    expect(await path.counter("denied_forward")).toBeGreaterThan(0);
  });

  it("keep clients from each other and the outside from clients", async () => {
    expect(await lab.client("agent1").connect(lab.addresses.guest.v4, 80, quick)).toMatchObject(refused);
    const before = await path.counter("denied_forward");
    const fromOutside = await lab.exec("internet", ["curl", "-sm1", `http://${lab.addresses.agent1.v4}/`]);
    expect(fromOutside.exitCode).toBe(7);
    expect(await path.counter("denied_forward")).toBeGreaterThan(before);
  });
});

describe("networks", () => {
  it.each(families)("open exactly their addresses, ports and clients, over IPv%i", async (family) => {
    await path.load(documentWith({ ips: [target.v4, target.v6], ports: [80, "7001/udp"] }));
    const host = at(target, family);
    const client = lab.client("agent1");
    expect(await client.get(host, 80)).toMatchObject({ outcome: "connected", status: 200 });
    expect(await client.udp(host, 7001)).toMatchObject({ outcome: "answered" });
    await lab.mark();
    expect(await client.connect(host, 8080, quick)).toMatchObject(refused);
    expect(await client.connect(host, 7001, quick)).toMatchObject(refused);
    expect(await client.udp(host, 443, quick)).toMatchObject(refused);
    expect(await client.connect(at(other, family), 80, quick)).toMatchObject(refused);
    expect(await lab.client("agent2").connect(host, 80, quick)).toMatchObject(refused);
    expect(await lab.client("guest").connect(host, 80, quick)).toMatchObject(refused);
    expect(await lab.client("stray").connect(host, 80, quick)).toMatchObject(refused);
    expect((await lab.packets()).flows).toEqual([]);
  });

  it("nest: each port is asked of the most specific network that has it", async () => {
    const wide = { network: "203.0.113.0/24", ports: [80, 7000] };
    const narrow = { network: "203.0.113.8/29", ports: [8080] };
    await path.load(documentWith({ ips: [wide, narrow] }));
    const client = lab.client("agent1");
    for (const port of [80, 7000, 8080]) {
      expect(await client.connect(target.v4, port, quick)).toMatchObject({ outcome: "connected" });
    }
    expect(await client.connect("203.0.113.200", 80, quick)).toMatchObject({ outcome: "connected" });
    expect(await client.connect("203.0.113.200", 8080, quick)).toMatchObject(refused);
  });

  it("that are all the internet still leave out what is never forwarded", async () => {
    await path.load(documentWith({ ips: ["0.0.0.0/0", "::/0"], ports: [80] }));
    const client = lab.client("agent1");
    for (const host of [target.v4, target.v6, other.v4]) {
      expect(await client.connect(host, 80, quick)).toMatchObject({ outcome: "connected" });
    }
    await lab.mark();
    expect(await client.connect("169.254.169.254", 80, quick)).not.toMatchObject({ outcome: "connected" });
    expect(await client.connect("168.63.129.16", 80, quick)).toMatchObject(refused);
    expect(await client.connect(lab.addresses.guest.v4, 80, quick)).toMatchObject(refused);
    expect((await lab.packets()).flows).toEqual([]);
  });
});

describe("names", () => {
  const echo = { protocol: "tcp", first: 7000, last: 7000 } as const;
  const document = (): object => documentWith({ domains: ["one.example.com", "two.example.com"], ports: [7000] });
  const pinFor = (family: 4 | 6) =>
    ({ group: "agent1", client: at(lab.addresses.agent1, family), address: at(target, family), range: echo }) as const;

  it.each(families)("open with a pin and a grant, not with one of them, over IPv%i", async (family) => {
    const { policy } = await path.load(document());
    const host = at(target, family);
    const pin = { ...pinFor(family), policy, name: "one.example.com", timeoutS: 60 };
    const { live } = await path.pin({ ...pin, live: false });
    expect(await lab.client("agent1").connect(host, 7000, quick)).toMatchObject(refused);
    await path.nft(`add element inet clawgress live { ${live} }\n`);
    expect(await lab.client("agent1").connect(host, 7000, quick)).toMatchObject({ outcome: "connected" });
    expect(await lab.client("agent1").connect(host, 80, quick)).toMatchObject(refused);
    expect(await lab.client("agent2").connect(host, 7000, quick)).toMatchObject(refused);
    await path.nft("flush map inet clawgress pin4\nflush map inet clawgress pin6\n");
    expect(await lab.client("agent1").connect(host, 7000, quick)).toMatchObject(refused);
    await path.nft("flush set inet clawgress live\n");
  });

  it("keep their flows when pins expire, and open no new ones", async () => {
    const { policy } = await path.load(document());
    await path.pin({ ...pinFor(4), policy, name: "one.example.com", timeoutS: 1 });
    const stream = await open(target.v4, 7000);
    await sleepMs(1_500);
    expect(await lab.client("agent1").connect(target.v4, 7000, quick)).toMatchObject(refused);
    expect(await echoes(stream)).toBe(true);
    await stream.close();
  });

  it.each(families)("end exactly their flows when the grant goes, over IPv%i", async (family) => {
    const { policy } = await path.load(document());
    const pin = { ...pinFor(family), policy, timeoutS: 60 };
    const { live } = await path.pin({ ...pin, name: "one.example.com" });
    await path.pin({ ...pin, name: "two.example.com", address: at(other, family) });
    const [gone, kept] = [await open(at(target, family), 7000), await open(at(other, family), 7000)];
    expect([await echoes(gone), await echoes(kept)]).toEqual([true, true]);
    await path.nft(`delete element inet clawgress live { ${live} }\n`);
    expect([await echoes(gone), await echoes(kept)]).toEqual([false, true]);
    expect(await gone.state()).toMatchObject({ state: "reset", code: "ECONNRESET" });
    expect(await lab.client("agent1").connect(at(target, family), 7000, quick)).toMatchObject(refused);
    await kept.close();
  });

  it("that share an address hand their flows over to the name that is still allowed", async () => {
    const { policy } = await path.load(document());
    const pin = { ...pinFor(4), policy, timeoutS: 60 };
    const { live } = await path.pin({ ...pin, name: "one.example.com" });
    const stream = await open(target.v4, 7000);
    await path.nft(`flush map inet clawgress pin4\ndelete element inet clawgress live { ${live} }\n`);
    await path.pin({ ...pin, name: "two.example.com" });
    expect(await echoes(stream)).toBe(true);
    await stream.close();
  });
});

describe("a changed policy", () => {
  it("stops a server that only sends, within a second", async () => {
    await path.load(documentWith({ ips: [target.v4, other.v4], ports: [80] }));
    const [gone, kept] = [await open(target.v4, 80), await open(other.v4, 80)];
    await sleepMs(300);
    await path.load(documentWith({ ips: [other.v4], ports: [80] }));
    await sleepMs(1_000);
    expect((await gone.state()).silentMs).toBeGreaterThan(800);
    expect((await kept.state()).silentMs).toBeLessThan(800);
    await gone.write();
    await expect.poll(async () => (await gone.state()).state).toBe("reset");
    await kept.close();
  });

  it("that allows the same by another rule lets flows go on, whichever side speaks first", async () => {
    await path.load(documentWith({ ips: [target.v4, target.v6], ports: [80, 7000] }));
    const [server, client] = [await open(target.v4, 80), await open(target.v6, 7000)];
    for (const allow of [
      { ips: ["203.0.113.0/24", "2001:db8:1::/64"], ports: [80, 7000] },
      { ips: ["203.0.113.0/24", "2001:db8:1::/64"], ports: ["1-8000"] },
    ]) {
      await path.load(documentWith(allow));
      await sleepMs(400);
      expect(await server.state()).toMatchObject({ state: "open" });
      expect((await server.state()).silentMs).toBeLessThan(400);
      expect(await echoes(client)).toBe(true);
    }
    await Promise.all([server.close(), client.close()]);
  });

  it("loaded again, with the base tables, disturbs no flow", async () => {
    const document = documentWith({ ips: [target.v4], ports: [7000] });
    await path.load(document);
    const listing = async (): Promise<string> =>
      (await path.list("table", "inet", "clawgress")).replace(/ expires \w+/g, "");
    const before = await listing();
    const stream = await open(target.v4, 7000);
    await path.load(document);
    await path.loadBase();
    expect(await echoes(stream)).toBe(true);
    expect(await listing()).toBe(before);
    await stream.close();
  });

  it("loaded whole again and again while much is sent, ends no flow", async () => {
    const everyKind = {
      ...documentWith({}),
      deny: { ips: ["203.0.113.192/27", "2001:db8:1::c0/123"] },
      hosts: {
        many: {
          sources: ["10.80.0.0/25", "fd80::/96"],
          allow: { ips: ["203.0.113.0/25", "2001:db8:1::/120"], ports: ["7000-7009"] },
        },
      },
    };
    await path.load(everyKind);
    let isOver = false;
    const sent = Promise.all(
      families.map((family) =>
        lab
          .client("agent1")
          .upload(at(target, family), { family, flows: 4, warmUpMs: 0, forMs: 4_000 * PATIENCE, atKbps: 4_000 }),
      ),
    ).finally(() => {
      isOver = true;
    });
    let rounds = 0;
    for (; !isOver; rounds++) {
      await path.load(everyKind);
      await path.loadBase();
    }
    const results = await sent;
    for (const { outcome } of results) expect(outcome).toBe("connected");
    const ended = results.map((result) => (result.outcome === "connected" ? result.ended : Number.NaN));
    // There a map of intervals that is emptied and filled at once may miss a packet: known, and told of in agent/README.md.
    if (/^6\.1\./.test(release())) console.info(`${ended.join(" and ")} of 4 flows ended in ${rounds} whole loads`);
    else expect(ended).toEqual([0, 0]);
    expect(rounds).toBeGreaterThan(3);
  });

  it("under deny-all ends everything but the lifeline, whatever grants the gate has left", async () => {
    const document = documentWith({ domains: ["one.example.com"], ips: [target.v6], ports: [7000] });
    const { policy } = await path.load(document);
    await path.nft("flush map inet clawgress pin4\n");
    await path.pin({
      policy,
      group: "agent1",
      client: lab.addresses.agent1.v4,
      address: target.v4,
      name: "one.example.com",
      range: { protocol: "tcp", first: 7000, last: 7000 },
      timeoutS: 60,
    });
    const streams = [await open(target.v4, 7000), await open(target.v6, 7000)];
    await path.load({ ...document, mode: "deny-all" });
    for (const stream of streams) expect(await echoes(stream)).toBe(false);
    expect(await lab.client("agent1").connect(target.v4, 7000, quick)).toMatchObject(refused);
    const curl = (host: string) => lab.exec("mgmt", ["curl", "-sm2", "-o", "/dev/null", `http://${host}/`]);
    expect((await curl(target.v4)).exitCode).toBe(0);
    expect((await curl(`[${target.v6}]`)).exitCode).toBe(0);
  });
});

describe("a source that does not route back", () => {
  it("is dropped before a connection is made of it, though everybody may reach the address", async () => {
    await path.load({ version: 1, allow: { ips: [target.v4, target.v6], ports: ["7001/udp"] } });
    expect(await lab.client("stray").udp(target.v4, 7001)).toMatchObject({ outcome: "answered" });
    const before = await path.counter("denied_source");
    await lab.execChecked("stray", ["ip", "addr", "add", "198.18.0.9/32", "dev", "eth0"]);
    await lab.execChecked("stray", ["ip", "addr", "add", "2001:db8:bad::9/128", "dev", "eth0", "nodad"]);
    await lab.mark();
    for (const [host, source] of [
      [target.v4, "198.18.0.9"],
      [target.v6, "2001:db8:bad::9"],
    ] as const) {
      expect(await lab.client("stray").udp(host, 7001, { source, timeoutMs: 300 })).toMatchObject({
        outcome: "timeout",
      });
    }
    expect((await lab.packets()).flows).toEqual([]);
    expect(await path.counter("denied_source")).toBeGreaterThanOrEqual(before + 2);
  });
});
