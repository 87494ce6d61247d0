import { readlink } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runChecked } from "../../agent/host/run.ts";
import { hostileNames } from "../lab/addresses.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { openGateway } from "../support/open-gateway.ts";

let lab: Lab;

beforeAll(async () => {
  lab = await startLab();
  console.log(`lab ${lab.id} was up after ${Math.round(lab.startMs)} ms`);
});

afterAll(async () => {
  await lab?.stop();
});

describe("a closed gateway", () => {
  test("lets nothing reach the internet side", async () => {
    await lab.mark();
    const client = lab.client("agent1");
    const attempts = await Promise.all([
      client.connect(lab.addresses.git.v4, 443, { timeoutMs: 300 }),
      client.connect(lab.addresses.git.v6, 443, { timeoutMs: 300 }),
      client.udp("203.0.113.10", 7001, { timeoutMs: 300 }),
      client.resolve("www.allowed.test", { server: lab.addresses.dns.v4, timeoutMs: 300 }),
    ]);
    expect(attempts.map(({ outcome }) => outcome)).toEqual(
      expect.not.arrayContaining(["connected", "answered", "answer"]),
    );
    expect(await lab.packets()).toMatchObject({ packets: 0, flows: [] });
    expect(await lab.queries()).toEqual([]);
  });

  test("answers its own clients and reaches the services itself", async () => {
    for (const node of ["agent1", "agent2", "stray", "guest"] as const) {
      const gateway = node === "guest" ? lab.addresses.guestLan : lab.addresses.lan;
      expect((await lab.exec(node, ["ping", "-c1", "-W1", gateway.v4])).exitCode).toBe(0);
      expect((await lab.exec(node, ["ping", "-c1", "-W1", gateway.v6])).exitCode).toBe(0);
    }
    expect((await lab.exec("mgmt", ["ping", "-c1", "-W1", lab.addresses.management.v4])).exitCode).toBe(0);
    expect((await lab.exec("mgmt", ["ping", "-c1", "-W1", lab.addresses.management.v6])).exitCode).toBe(0);
    expect((await lab.exec("gateway", ["ping", "-c1", "-W1", "203.0.113.200"])).exitCode).toBe(0);
  });

  test("leaves the caller's namespace and mounts alone", async () => {
    const inside = await lab.execChecked("agent1", ["ip", "-br", "link"]);
    expect(inside).toContain("eth0");
    const mounts = await lab.execChecked("agent1", ["readlink", "/proc/self/ns/mnt"]);
    expect(mounts.trim()).toBe(await readlink("/proc/self/ns/mnt"));
    const links = await runChecked(["ip", "-br", "link"], { timeoutMs: 5000 });
    expect(links).not.toMatch(/port-agent1|wan0/);
  });
});

describe("packets that nobody masks", () => {
  const forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];

  test("arrive under the client's own address and are not answered", async () => {
    await lab.execChecked("gateway", forward);
    await lab.mark();
    expect(await lab.client("agent1").connect("203.0.113.10", 80, { timeoutMs: 300 })).toMatchObject({
      outcome: "timeout",
    });
    expect(
      (await lab.packets({ from: lab.addresses.agent1.v4, to: "203.0.113.10", port: 80 })).packets,
    ).toBeGreaterThan(0);
  });

  test("are answered where the internet side knows the way back", async () => {
    const routed = await startLab({ routeClients: true });
    try {
      await routed.execChecked("gateway", forward);
      for (const address of ["203.0.113.10", "2001:db8:1::a"]) {
        expect(await routed.client("guest").connect(address, 80)).toMatchObject({ outcome: "connected" });
      }
    } finally {
      await routed.stop();
    }
  });
});

describe("an opened gateway", () => {
  beforeAll(async () => {
    await openGateway(lab);
  });

  test.each([4, 6] as const)("reaches every service over IPv%i", async (family) => {
    const client = lab.client("agent1");
    const at = family === 4 ? "203.0.113.12" : "2001:db8:1::c";
    const hello = { outcome: "connected", status: 200, body: `hello www.allowed.test from ${at}\n`, address: at };
    expect(await client.get("www.allowed.test", 80, { family })).toMatchObject(hello);
    expect(await client.get("www.allowed.test", 8080, { family })).toMatchObject(hello);
    expect(await client.get("www.allowed.test", 443, { family })).toMatchObject(hello);
    expect(await client.tls("a.wild.test", 443, { family })).toMatchObject({ outcome: "connected", authorized: true });
    expect(await client.udp("www.allowed.test", 7001, { family, payload: "echo" })).toMatchObject({
      outcome: "answered",
      data: "echo",
    });
    expect(await client.udp("www.allowed.test", 443, { family })).toMatchObject({ outcome: "answered" });
    expect(await client.connect("git.lab.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await client.connect("api.lab.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await client.connect(at, 81)).toMatchObject({ outcome: "refused", code: "ECONNREFUSED" });
    expect(await client.connect(family === 4 ? "203.0.113.250" : "2001:db8:1::dead", 80)).toMatchObject({
      outcome: "connected",
    });
  });

  test("serves guests, who are alone on their network", async () => {
    expect(await lab.client("guest").get("www.allowed.test", 443)).toMatchObject({ outcome: "connected", status: 200 });
  });

  test("keeps streams open and tells how they end", async () => {
    const client = lab.client("agent2");
    const web = await client.stream("www.allowed.test", 443);
    const echo = await client.stream("www.allowed.test", 7000, { family: 6 });
    if (web.outcome !== "connected" || echo.outcome !== "connected") throw new Error(JSON.stringify([web, echo]));
    const before = await web.stream.state();
    await new Promise((resolve) => setTimeout(resolve, 350));
    expect((await web.stream.state()).bytes).toBeGreaterThan(before.bytes);
    await echo.stream.write();
    await expect.poll(async () => (await echo.stream.state()).bytes).toBe("hello\nping\n".length);
    await lab.block([{ to: "203.0.113.12", protocol: "tcp", port: 443, how: "reset" }]);
    // The server keeps sending; the client's acknowledgements are answered with RST, and its own side stays silent.
    await expect.poll(async () => (await web.stream.state()).silentMs, { timeout: 3000 }).toBeGreaterThan(300);
    await lab.block([]);
    await echo.stream.close();
    expect(await echo.stream.state()).toMatchObject({ state: "closed" });
  });

  test.each([
    ["reset", "refused"],
    ["unreachable", "refused"],
    ["drop", "timeout"],
  ] as const)("a blocked destination (%s) is %s to a client", async (how, outcome) => {
    await lab.block([{ to: "203.0.113.11", protocol: "tcp", port: 80, how }]);
    expect(await lab.client("agent1").connect("203.0.113.11", 80, { timeoutMs: 400 })).toMatchObject({ outcome });
    await lab.block([]);
    expect(await lab.client("agent1").connect("203.0.113.11", 80)).toMatchObject({ outcome: "connected" });
  });

  test("counts packets per destination since the mark", async () => {
    const client = lab.client("agent1");
    await client.connect("203.0.113.10", 80);
    await lab.mark();
    for (let index = 0; index < 5; index += 1) await client.udp("203.0.113.13", 7001);
    await client.get("2001:db8:1::d", 443, { name: "api.allowed.test", servername: "api.allowed.test" });
    expect(await lab.packets({ to: "203.0.113.13", protocol: "udp", port: 7001 })).toMatchObject({
      packets: 5,
      bytes: 5 * 32,
    });
    expect((await lab.packets({ to: "2001:db8:1::d", protocol: "tcp", port: 443 })).packets).toBeGreaterThan(3);
    expect((await lab.packets({ to: "203.0.113.10", port: 80, protocol: "udp" })).packets).toBe(0);
    expect((await lab.packets({ protocol: "udp" })).flows.map(({ from }) => from)).toEqual([lab.addresses.wan.v4]);
    expect(await lab.requests()).toEqual([
      {
        host: "api.allowed.test",
        path: "/",
        address: "2001:db8:1::d",
        port: 443,
        from: lab.addresses.wan.v6,
        servername: "api.allowed.test",
      },
    ]);
  });
});

describe("the internet's DNS", () => {
  beforeAll(async () => {
    await lab.mark();
  });

  test("logs each question with its flags, and only those since the mark", async () => {
    const client = lab.client("agent1");
    await client.resolve("one.fresh.test", {
      type: "AAAA",
      dnssecOk: true,
      checkingDisabled: true,
      recursionDesired: false,
    });
    await client.resolve("TWO.fresh.test", { transport: "tcp", edns: false });
    const queries = await lab.queries({ name: "*.fresh.test" });
    expect(queries).toMatchObject([
      {
        name: "one.fresh.test",
        type: "AAAA",
        tcp: false,
        dnssecOk: true,
        checkingDisabled: true,
        recursionDesired: false,
      },
      {
        name: "two.fresh.test",
        type: "A",
        tcp: true,
        dnssecOk: false,
        checkingDisabled: false,
        recursionDesired: true,
      },
    ]);
    await lab.mark();
    expect(await lab.queries()).toEqual([]);
  });

  test.each(Object.entries(hostileNames))("%s has the addresses it should not have", async (name, { v4, v6 }) => {
    const client = lab.client("agent1");
    const [a, aaaa] = [await client.resolve(name), await client.resolve(name, { type: "AAAA" })];
    expect(a).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
    if (a.outcome !== "answer" || aaaa.outcome !== "answer") return;
    expect([...a.addresses].sort()).toEqual([...v4].sort());
    expect(aaaa.addresses.length).toBe(v6.length);
  });

  test("truncates what does not fit, and gives it over TCP", async () => {
    const client = lab.client("agent1");
    expect(await client.resolve("many.allowed.test")).toMatchObject({ truncated: true });
    const whole = await client.resolve("many.allowed.test", { transport: "tcp" });
    expect(whole).toMatchObject({ outcome: "answer", truncated: false });
    expect(whole.outcome === "answer" && whole.addresses.length).toBe(80);
  });

  test("answers a chain into unlisted zones, other types, and NXDOMAIN for unknown names", async () => {
    const client = lab.client("agent1");
    const chain = await client.resolve("www.chain.test");
    expect(chain.outcome === "answer" && chain.answers.map(({ name, type }) => [name, type])).toEqual([
      ["www.chain.test", "CNAME"],
      ["edge.cdn-unlisted.test", "CNAME"],
      ["e9.cdn2-unlisted.test", "A"],
    ]);
    expect(await client.resolve("mail.allowed.test", { type: "MX" })).toMatchObject({ answers: [{ type: "MX" }] });
    expect(await client.resolve("www.allowed.test", { type: "HTTPS" })).toMatchObject({
      answers: [{ type: "TYPE65" }],
    });
    expect(await client.resolve("nothing.example")).toMatchObject({ rcode: "NXDOMAIN" });
    expect(await client.resolve("v6only.allowed.test")).toMatchObject({ rcode: "NOERROR", addresses: [] });
  });

  test("moves a name to another address", async () => {
    await lab.move({ v4: ["203.0.113.99"], v6: [] });
    expect(await lab.client("agent1").resolve("moving.test")).toMatchObject({ addresses: ["203.0.113.99"] });
    await lab.move({ v4: ["203.0.113.98"], v6: [] });
    expect(await lab.client("agent1").resolve("x.moving.test")).toMatchObject({ addresses: ["203.0.113.98"] });
  });

  test("a validating resolver that has the trust anchors accepts the signed zones", async () => {
    const text = await lab.execChecked("gateway", [
      ...["delv", "-a", lab.trustAnchorsFile, "+root=signed-denied.test", `@${lab.addresses.dns.v4}`],
      ...["x.signed-denied.test", "A"],
    ]);
    expect(text).toContain("; fully validated");
    expect(text).toContain("203.0.113.41");
  });
});
