import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What each key of a policy means to real traffic: every denial is proved on the far side, beside an allowed control. */

const policy = {
  version: 1,
  allow: {
    domains: ["a.allowed.test", "*.wild.test", "www.chain.test", "rebind.allowed.test", "meta.allowed.test"],
    ips: ["203.0.113.60/31", "2001:db8:1::60/127"],
    ports: [80, 443, "7001/udp"],
  },
  labels: { "a.allowed.test": "llm-provider" },
  hosts: {
    "agent-2": {
      sources: ["10.80.0.11/32", "fd80::11/128"],
      allow: { domains: ["b.allowed.test"], ports: [443] },
    },
  },
};

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

describe.each([["IPv4", 4] as const, ["IPv6", 6] as const])("over %s", (_, family) => {
  const serviceAddress = (n: string): string => (family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n}`);

  test("a wildcard opens subdomains at any depth, and not the name itself", async () => {
    const client = lab.client("agent1");
    await lab.mark();
    expect(await client.connect("x.wild.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await client.connect("y.x.wild.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await client.connect("wild.test", 443, { family })).toMatchObject({
      outcome: "unresolved",
      rcode: "NXDOMAIN",
    });
    expect(await lab.queries({ name: "wild.test" })).toHaveLength(0);
  });

  test("a chain of aliases into an unlisted CDN is followed; the CDN's own name is denied", async () => {
    const client = lab.client("agent1");
    expect(await client.connect("www.chain.test", 443, { family })).toMatchObject({ outcome: "connected" });
    await lab.mark();
    expect(await client.connect("e9.cdn2-unlisted.test", 443, { family })).toMatchObject({ outcome: "unresolved" });
    expect(await lab.queries({ name: "e9.cdn2-unlisted.test" })).toHaveLength(0);
  });

  test("a network is open on the listed ports and its neighbours are not", async () => {
    const client = lab.client("agent1");
    await lab.mark();
    expect(await client.connect(serviceAddress("60"), 443)).toMatchObject({ outcome: "connected" });
    expect(await client.connect(serviceAddress("60"), 7000)).toMatchObject({ outcome: "refused" });
    expect(await client.connect(serviceAddress("62"), 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: serviceAddress("60"), port: 443 })).packets).toBeGreaterThan(0);
    expect((await lab.packets({ to: serviceAddress("60"), port: 7000 })).packets).toBe(0);
    expect((await lab.packets({ to: serviceAddress("62") })).packets).toBe(0);
  });

  test("UDP is open only where it is written", async () => {
    const client = lab.client("agent1");
    await lab.mark();
    expect(await client.udp("a.allowed.test", 7001, { family })).toMatchObject({ outcome: "answered" });
    expect(await client.udp("a.allowed.test", 443, { family })).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: serviceAddress("10"), protocol: "udp", port: 443 })).packets).toBe(0);
  });

  test("a host with an allow of its own has nothing of the global lists, and others nothing of its own", async () => {
    const [one, two] = [lab.client("agent1"), lab.client("agent2")];
    expect(await two.connect("b.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await two.connect("b.allowed.test", 80, { family })).toMatchObject({ outcome: "refused" });
    expect(await two.connect("a.allowed.test", 443, { family })).toMatchObject({ outcome: "unresolved" });
    await lab.mark();
    expect(await two.connect(serviceAddress("60"), 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: serviceAddress("60") })).packets).toBe(0);
    expect(await one.connect("b.allowed.test", 443, { family })).toMatchObject({ outcome: "unresolved" });
  });

  test("an address that one client was given is closed to a client with other rules", async () => {
    const [one, two] = [lab.client("agent1"), lab.client("agent2")];
    expect(await one.connect("a.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
    const [address = ""] = lab.names["a.allowed.test"][`v${family}`];
    await lab.mark();
    expect(await two.connect(address, 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: address })).packets).toBe(0);
  });
});

test("a client in no host entry follows the global rules on every client interface", async () => {
  for (const node of ["stray", "guest"] as const) {
    expect(await lab.client(node).connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    expect(await lab.client(node).connect("b.allowed.test", 443)).toMatchObject({ outcome: "unresolved" });
  }
});

test("names that resolve to private, own or metadata addresses are refused with a reason", async () => {
  const client = lab.client("agent1");
  for (const name of ["rebind.allowed.test", "meta.allowed.test"]) {
    const answer = await client.resolve(name, { edns: true });
    expect(answer).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN", addresses: [] });
  }
});

test("a denied name carries EDE 15 with the policy's commit", async () => {
  const head = (await gateway.head()).slice(0, 7);
  const answer = await lab.client("agent1").resolve("www.denied.test", { edns: true });
  if (answer.outcome !== "answer") throw new Error("no answer");
  expect(answer.extendedErrors[0]).toMatchObject({ code: 15 });
  expect(answer.extendedErrors[0]?.text).toContain(head);
});

test("clients are kept apart across interfaces", async () => {
  await lab.mark();
  expect(await lab.client("guest").connect(lab.addresses.agent1.v4, 7000)).toMatchObject({ outcome: "refused" });
});

test("explain says the same as the datapath", async () => {
  const rows = [
    ["10.80.0.10", "a.allowed.test:443", "allow"],
    ["10.80.0.10", "wild.test:443", "deny"],
    ["10.80.0.11", "a.allowed.test:443", "deny"],
    ["agent-2", "b.allowed.test:443", "allow"],
    ["10.80.0.10", "203.0.113.60:443", "allow"],
    ["10.80.0.10", "203.0.113.60:443/udp", "deny"],
  ] as const;
  for (const [from, to, verdict] of rows) {
    const result = await gateway.clawgress(["explain", from, to, "--json", "--config", gateway.configFile]);
    expect(JSON.parse(result.stdout), `${from} → ${to}`).toMatchObject({ verdict });
  }
});

test("status tells what is enforced", async () => {
  const result = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
  expect(JSON.parse(result.stdout)).toMatchObject({ ok: true, confirmed: { serial: 1 }, insecure: false });
  expect(result.exitCode).toBe(0);
});
