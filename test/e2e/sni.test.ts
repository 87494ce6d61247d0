import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { addresses } from "../lab/addresses.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";

/**
 * SNI mode: TLS goes by the name in the ClientHello, to the address that the gateway resolves for it. Every denial is
 * proved on the far side, beside an allowed control, and has a record with its reason.
 */

const hostile = ["rebind", "neighbour", "admin", "wan", "meta", "loop", "link", "zero", "private", "mapped", "nat64"];
const policy = {
  version: 1,
  allow: {
    domains: [
      "a.allowed.test",
      "*.wild.test",
      "v4only.allowed.test",
      "v6only.allowed.test",
      "many.allowed.test",
      "www.chain.test",
      "none.allowed.test",
      ...hostile.map((name) => `${name}.allowed.test`),
    ],
    ips: ["203.0.113.60/31", "2001:db8:1::3c/127"],
    ports: [80, 443, 7000, "7001/udp"],
  },
  proxy: { mode: "sni-allowlist" },
  hosts: {
    "agent-2": {
      sources: ["10.80.0.11/32", "fd80::11/128"],
      allow: { domains: ["b.allowed.test"], ports: [443] },
    },
    "by-address": { sources: ["10.81.0.10/32", "fd81::10/128"], proxy: { mode: "disabled" } },
  },
};

/** What the gateway itself speaks to at any time. */
const infrastructure: readonly string[] = [addresses.git, addresses.api, addresses.dns].flatMap(({ v4, v6 }) => [
  v4,
  v6,
]);

let lab: Lab;
let gateway: TestGateway;
let records: RecordReader;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy });
  gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  records = readProxyRecords(gateway);
});
afterAll(async () => {
  await lab?.stop();
});
/** The far end of a connection that is over may still be told so: counting begins when nothing comes any more. */
beforeEach(async () => {
  await expect
    .poll(async () => {
      await lab.mark();
      await sleepMs(50);
      return (await lab.packets()).flows.filter(({ to }) => !infrastructure.includes(to)).length;
    })
    .toBe(0);
  await records.mark();
});

const connected = { outcome: "connected" };
const refused = { outcome: "refused" };
/** Closed after the connection was made, without a byte of an answer. */
const cut = { outcome: "reset" };

describe.each([["IPv4", 4] as const, ["IPv6", 6] as const])("over %s", (_, family) => {
  const service = (n: number): string => (family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n.toString(16)}`);
  const address = (name: "a.allowed.test" | "denied.test"): string => lab.names[name][`v${family}`][0] ?? "";
  const agent1 = (): string => lab.addresses.agent1[`v${family}`];
  /** Nothing of this went out but what the control sent. */
  const expectSilence = async (...addresses: string[]): Promise<void> => {
    for (const to of addresses) expect((await lab.packets({ to })).packets, to).toBe(0);
  };

  test.each(["a.allowed.test", "x.wild.test", "a.b.c.d.e.f.g.h.i.j.wild.test", "www.chain.test"])(
    "TLS to %s is passed on",
    async (name) => {
      expect(await lab.client("agent1").tls(name, 443, { family })).toMatchObject(connected);
      await records.find({ plane: "tls", verdict: "allow", reason: "allowed", client: agent1(), name });
    },
  );

  test("nobody opens the TLS: the client sees the far end's own certificate", async () => {
    const answer = await lab.client("agent1").tls("a.allowed.test", 443, { family });
    expect(answer).toMatchObject({ ...connected, authorized: true });
  });

  test("letters of either case and a dot at the end are the same name", async () => {
    const servername = "A.Allowed.TEST.";
    const client = lab.client("agent1");
    expect(await client.tls(address("a.allowed.test"), 443, { servername })).toMatchObject(connected);
    await records.find({ reason: "allowed", name: servername });
  });

  test.each([
    ["a name outside the list", "www.denied.test", "sni-not-allowed"],
    ["the name under which a wildcard begins", "wild.test", "sni-not-allowed"],
    ["a name that only ends like a listed one", "evila.allowed.test", "sni-not-allowed"],
    ["a listed name with more behind it", "a.allowed.test.evil.test", "sni-not-allowed"],
    ["an empty label", "a..allowed.test", "sni-malformed"],
    ["a character that no name has", "a.allowed.test/", "sni-malformed"],
  ])("TLS to %s is closed", async (_title, servername, reason) => {
    const client = lab.client("agent1");
    expect(await client.tls(service(12), 443, { servername })).toMatchObject(cut);
    await records.find({ plane: "tls", verdict: "deny", reason, client: agent1(), name: servername });
    expect(await lab.queries()).toHaveLength(0);
    await expectSilence(service(12), address("denied.test"));
    expect(await client.tls("a.allowed.test", 443, { family })).toMatchObject(connected);
  });

  test.each([
    ["no server name", { servername: "" }, "sni-missing"],
    [
      "a hello over several TLS records",
      { servername: "a.allowed.test", hello: { recordBytes: 100 } },
      "hello-fragmented",
    ],
    ["a first record of one byte", { servername: "a.allowed.test", hello: { recordBytes: 1 } }, "hello-fragmented"],
  ])("TLS with %s is closed", async (_title, options, reason) => {
    expect(await lab.client("agent1").tls(address("a.allowed.test"), 443, options)).toMatchObject(cut);
    await records.find({ plane: "tls", verdict: "deny", reason, client: agent1() });
    await expectSilence(address("a.allowed.test"));
  });

  test.each([
    ["plain HTTP", "GET / HTTP/1.1\r\nHost: a.allowed.test\r\n\r\n", "not-tls"],
    ["SSH", "SSH-2.0-lab\r\n", "not-tls"],
    ["a ServerHello", Buffer.from("160303000402000000", "hex"), "not-tls"],
    ["a record longer than records are", Buffer.from(`160301ffff01000010${"00".repeat(64)}`, "hex"), "sni-malformed"],
  ])("%s on port 443 is closed", async (_title, payload, reason) => {
    const answer = await lab.client("agent1").exchange(address("a.allowed.test"), 443, payload);
    expect(answer).toMatchObject({ outcome: expect.stringMatching(/closed|reset/), data: "" });
    await records.find({ plane: "tls", verdict: "deny", reason, client: agent1() });
    await expectSilence(address("a.allowed.test"));
  });

  test("a client that never says its name is closed after 5 s", async () => {
    const half = Buffer.from("16030100c8010000c40303", "hex");
    const options = { timeoutMs: 8_000 };
    const [silent, slow] = await Promise.all([
      lab.client("agent1").exchange(address("a.allowed.test"), 443, "", options),
      lab.client("agent2").exchange(address("a.allowed.test"), 443, half, options),
    ]);
    for (const { outcome, ms } of [silent, slow]) {
      expect(outcome).toMatch(/closed|reset/);
      expect(ms).toBeGreaterThan(4_500);
      expect(ms).toBeLessThan(7_000);
    }
    await records.find({ reason: "hello-timeout", client: agent1() });
    await records.find({ reason: "hello-timeout", client: lab.addresses.agent2[`v${family}`] });
    await expectSilence(address("a.allowed.test"));
  });

  test("a hello in segments of one byte, and one of 12 kB, are judged right", async () => {
    const client = lab.client("agent1");
    for (const hello of [{ segmentBytes: 1 }, { extraBytes: 12_000 }, { extraBytes: 12_000, segmentBytes: 700 }]) {
      const options = { hello, timeoutMs: 5_000 };
      const good = await client.tls(service(12), 443, { servername: "a.allowed.test", ...options });
      expect(good, JSON.stringify(hello)).toMatchObject({ ...connected, authorized: true });
      expect(await client.tls(service(12), 443, { servername: "www.denied.test", ...options })).toMatchObject(cut);
    }
    await expectSilence(service(12));
  });

  test("the far end is what the gateway resolves for the name, whatever was dialled", async () => {
    const dialled = address("denied.test");
    const answer = await lab.client("agent1").tls(dialled, 443, { servername: "a.allowed.test" });
    expect(answer).toMatchObject({ ...connected, authorized: true });
    await expectSilence(dialled);
    const reached = address("a.allowed.test");
    expect((await lab.packets({ to: reached, protocol: "tcp", port: 443 })).packets).toBeGreaterThan(0);
    await records.find({ reason: "allowed", name: "a.allowed.test", destination: reached });
  });

  test("a name with many addresses, and one of the other family alone, are reached", async () => {
    const client = lab.client("agent1");
    for (const servername of ["many.allowed.test", family === 4 ? "v6only.allowed.test" : "v4only.allowed.test"]) {
      expect(await client.tls(service(12), 443, { servername }), servername).toMatchObject(connected);
    }
  });

  test("a name without an address is closed with its reason", async () => {
    const options = { servername: "none.allowed.test", timeoutMs: 8_000 };
    expect(await lab.client("agent1").tls(service(12), 443, options)).toMatchObject(cut);
    await records.find({ verdict: "deny", reason: "resolve-failed", name: "none.allowed.test" });
  });

  test.each(hostile)("%s.allowed.test, which leads to no public address, is closed", async (label) => {
    const name = `${label}.allowed.test`;
    const client = lab.client("agent1");
    expect(await client.tls(service(12), 443, { servername: name })).toMatchObject(cut);
    await records.find({ plane: "tls", verdict: "deny", reason: "private-answer", client: agent1(), name });
    const answer = await client.get(service(12), 80, { name });
    expect(answer).toMatchObject({ ...connected, status: 403, body: expect.stringContaining("private-answer") });
    await expectSilence(service(12), lab.addresses.wan[`v${family}`], lab.addresses.admin[`v${family}`]);
  });

  test("each client goes by its own list", async () => {
    const [one, two] = [lab.client("agent1"), lab.client("agent2")];
    expect(await two.tls("b.allowed.test", 443, { family })).toMatchObject(connected);
    expect(await one.tls(service(12), 443, { servername: "b.allowed.test" })).toMatchObject(cut);
    await lab.mark();
    expect(await two.tls(service(12), 443, { servername: "a.allowed.test" })).toMatchObject(cut);
    await records.find({ reason: "sni-not-allowed", group: "agent-2", name: "a.allowed.test" });
    await expectSilence(address("a.allowed.test"), service(12));
  });

  test("QUIC is refused at once, so that clients fall back", async () => {
    const answer = await lab.client("agent1").udp("a.allowed.test", 443, { family });
    expect(answer).toMatchObject(refused);
    expect(answer.ms).toBeLessThan(500);
    expect((await lab.packets({ protocol: "udp", port: 443 })).packets).toBe(0);
  });

  test("a listed network opens its other ports and never 443", async () => {
    const client = lab.client("agent1");
    const listed = service(60);
    expect(await client.get(listed, 80, { name: "any.name" })).toMatchObject({ ...connected, status: 200 });
    expect(await client.connect(listed, 7000)).toMatchObject(connected);
    await lab.mark();
    expect(await client.tls(listed, 443, { servername: "any.name" })).toMatchObject(cut);
    expect(await client.udp(listed, 443)).toMatchObject(refused);
    expect((await lab.packets({ to: listed, port: 443 })).packets).toBe(0);
  });

  test("a name's other ports open its addresses as ever", async () => {
    const client = lab.client("agent1");
    expect(await client.connect("a.allowed.test", 7000, { family })).toMatchObject(connected);
    expect(await client.udp("a.allowed.test", 7001, { family })).toMatchObject({ outcome: "answered" });
    expect(await client.connect("a.allowed.test", 8080, { family })).toMatchObject(refused);
  });

  test("a host without SNI mode goes by addresses, and the proxy is not in its way", async () => {
    const guest = lab.client("guest");
    expect(await guest.tls("a.allowed.test", 443, { family, servername: "any.name" })).toMatchObject(connected);
    const seen = (await lab.requests()).length;
    expect(await guest.get("a.allowed.test", 80, { family, name: "any.name" })).toMatchObject({ status: 200 });
    expect((await lab.requests()).slice(seen)).toMatchObject([{ host: "any.name" }]);
    await lab.mark();
    expect(await guest.connect(address("denied.test"), 443)).toMatchObject(refused);
    await expectSilence(address("denied.test"));
  });

  test("nobody speaks to the proxy but by being intercepted, and the gateway's own 443 stays its own", async () => {
    const client = lab.client("agent1");
    const gatewaySides = [lab.addresses.lan, lab.addresses.wan].map((pair) => pair[`v${family}`]);
    for (const host of gatewaySides) {
      for (const port of [5443, 5480, 5490, 443, 80]) {
        expect(await client.connect(host, port), `${host}:${port}`).toMatchObject(refused);
      }
    }
    const wan = lab.addresses.wan[`v${family}`];
    const fromOutside = await lab.exec("internet", [
      "curl",
      "-gsm2",
      family === 4 ? `http://${wan}:5480/` : `http://[${wan}]:5480/`,
    ]);
    expect(fromOutside.exitCode).toBe(7);
  });

  test("plain HTTP is judged by the Host of each request, and the answer says why", async () => {
    const client = lab.client("agent1");
    const host = address("denied.test");
    const request = (name: string): string => `GET / HTTP/1.1\r\nHost: ${name}\r\n`;
    const both = `${request("a.allowed.test")}\r\n${request("www.denied.test")}Connection: close\r\n\r\n`;
    const answer = await client.exchange(host, 80, both, { timeoutMs: 3_000 });
    if (answer.outcome !== "closed") throw new Error(JSON.stringify(answer));
    expect(answer.data).toMatch(/^HTTP\/1.1 200 [\s\S]*hello a.allowed.test[\s\S]*HTTP\/1.1 403 /);
    const body = JSON.parse(/\{.*\}/.exec(answer.data)?.[0] ?? "") as unknown;
    const head = await gateway.head();
    expect(body).toEqual({
      error: "policy_denied",
      reason: "host-not-allowed",
      name: "www.denied.test",
      policy: `commit ${head}, serial 1`,
      how: expect.any(String),
    });
    await records.find({ plane: "http", verdict: "deny", reason: "host-not-allowed", commit: head, serial: 1 });
    await expectSilence(host);
  });

  test.each([
    ["no Host", "GET / HTTP/1.1\r\n\r\n", 403, "host-missing"],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: a.allowed.test\r\nHost: www.denied.test\r\n\r\n", 400, "http-malformed"],
    ["a list as Host", "GET / HTTP/1.1\r\nHost: www.denied.test, a.allowed.test\r\n\r\n", 403, "host-malformed"],
    ["another port", "GET / HTTP/1.1\r\nHost: a.allowed.test:8080\r\n\r\n", 403, "host-malformed"],
    ["an address", "GET / HTTP/1.1\r\nHost: 203.0.113.10\r\n\r\n", 403, "host-not-allowed"],
    [
      "another name in the target",
      "GET http://x.test/ HTTP/1.1\r\nHost: a.allowed.test\r\n\r\n",
      400,
      "http-malformed",
    ],
    ["CONNECT", "CONNECT a.allowed.test:80 HTTP/1.1\r\nHost: a.allowed.test:80\r\n\r\n", 403, "method-not-allowed"],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "http-malformed"],
    ["hostile text", 'GET / HTTP/1.1\r\nHost: "}{%[src]\\\r\n\r\n', 403, "host-malformed"],
  ])("an HTTP request with %s is refused", async (_title, request, status, reason) => {
    const closing = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    const answer = await lab.client("agent1").exchange(address("a.allowed.test"), 80, closing);
    expect(answer).toMatchObject({ data: expect.stringMatching(new RegExp(`^HTTP/1\\.[01] ${status} `)) });
    await records.find({ plane: "http", verdict: "deny", reason, client: agent1() });
    await expectSilence(address("a.allowed.test"));
  });
});

test("a client's link-local address is no way round its own list", async () => {
  const text = await lab.execChecked("agent2", ["ip", "-6", "-o", "address", "show", "scope", "link"]);
  const [, device, linkLocal] = /^\d+: (\S+) +inet6 (\S+)\//m.exec(text) ?? [];
  const [address = ""] = lab.names["a.allowed.test"].v6;
  const options = { servername: "a.allowed.test", source: `${linkLocal}%${device}` };
  expect(await lab.client("agent2").tls(address, 443, options)).not.toMatchObject(connected);
  await expect(records.find({ name: "a.allowed.test" })).rejects.toThrow("no record");
});

test("explain says the same, and by which way", async () => {
  const rows = [
    ["10.80.0.10", "a.allowed.test:443", { verdict: "allow", path: "proxy" }],
    ["10.80.0.10", "a.allowed.test:7000", { verdict: "allow", path: "address" }],
    ["10.80.0.10", "a.allowed.test:443/udp", { verdict: "deny", reason: "port-not-allowed" }],
    ["10.80.0.10", "203.0.113.60:443", { verdict: "deny", reason: "port-not-allowed" }],
    ["10.80.0.10", "203.0.113.60:80", { verdict: "allow", path: "address" }],
    ["by-address", "a.allowed.test:443", { verdict: "allow", path: "address" }],
    ["agent-2", "a.allowed.test:443", { verdict: "deny", reason: "dns-not-allowed" }],
  ] as const;
  for (const [from, to, expected] of rows) {
    const result = await gateway.clawgress(["explain", from, to, "--json", "--config", gateway.configFile]);
    expect(JSON.parse(result.stdout), `${from} → ${to}`).toMatchObject(expected);
  }
});
