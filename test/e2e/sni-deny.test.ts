import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { awaitRecords } from "../support/deny-records.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";
import { fateOf, openStream } from "../support/streams.ts";

/** SNI mode beside the rest of the language: deny wins there too, answers lead to private networks, an audit ends nothing. */

const families = [4, 6] as const;
const service = (n: number, family: 4 | 6): string =>
  family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n.toString(16)}`;

/** Private networks of everything that must stay closed all the same: management, clients, the gateway, metadata. */
const everywhere = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
const closed = ["admin", "neighbour", "rebind", "wan", "meta", "link", "loop", "mapped", "nat64"];
const domains = [
  "a.allowed.test",
  "b.allowed.test",
  "www.allowed.test",
  "to-denied.allowed.test",
  "*.wild.test",
  "*.corp.test",
  { domain: "private.allowed.test", answers: ["192.168.0.0/16", "172.16.0.0/12", "fd12::/16"] },
  { domain: "shared-space.allowed.test", answers: ["100.64.0.0/10"] },
  ...closed.map((name) => ({ domain: `${name}.allowed.test`, answers: everywhere })),
];
const agent2 = {
  sources: ["10.80.0.11/32", "fd80::11/128"],
  allow: { domains: ["a.allowed.test", "www.allowed.test", "private.allowed.test"] },
};

let lab: Lab;
let gateway: TestGateway;
let records: RecordReader;

const policy = (change: object = {}, more: object = {}) => ({
  version: 1,
  allow: { domains, ports: [80, 443] },
  proxy: { mode: "sni-allowlist" },
  dns: { forward: { "corp.test": { resolvers: [lab.addresses.admin.v4], answers: ["192.168.0.0/16"] } } },
  hosts: { "agent-2": { ...agent2, allow: { ...agent2.allow, ports: [80, 443] }, ...more } },
  ...change,
});

async function apply(document: object): Promise<void> {
  const commit = await gateway.commit({ ...document });
  await gateway.awaitStatus(commit, ["success"]);
}

beforeAll(async () => {
  lab = await startLab();
  for (const address of ["192.168.1.1", "172.16.0.1", "fd12:3456::1"]) {
    const family = address.includes(":") ? "-6" : "-4";
    await lab.execChecked("internet", ["ip", family, "route", "add", "local", address, "dev", "lo"]);
  }
  const program = fileURLToPath(new URL("../support/inner-resolver.mjs", import.meta.url));
  lab.spawn("mgmt", [process.execPath, program, lab.addresses.admin.v4, "192.168.1.1"], {
    logFile: join(lab.folder, "inner.log"),
  });
  gateway = await setUpGateway(lab, { policy: policy() });
  gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  records = readProxyRecords(gateway);
});
afterAll(async () => {
  await lab?.stop();
});

const connected = { outcome: "connected" };
const cut = { outcome: "reset" };
const tls = (node: "agent1" | "agent2", servername: string, family: 4 | 6, timeoutMs = 3_000) =>
  lab.client(node).tls(service(60, family), 443, { servername, timeoutMs });
const get = (node: "agent1" | "agent2", name: string, family: 4 | 6) =>
  lab.client(node).get(service(60, family), 80, { name });

const open = (name: string, port: number, family: 4 | 6, node: "agent1" | "agent2") =>
  openStream(lab.client(node), name, port, family);

describe("answers", () => {
  test.each(families)(
    "lead a name to its private networks through the proxy, and no other's, over IPv%i",
    async (family) => {
      await records.mark();
      expect(await tls("agent1", "private.allowed.test", family)).toMatchObject(connected);
      expect(await get("agent1", "private.allowed.test", family)).toMatchObject({ ...connected, status: 200 });
      const through = await records.find({ reason: "allowed", plane: "tls", name: "private.allowed.test" });
      expect(through.destination).toMatch(/^(192\.168\.1\.1|172\.16\.0\.1|fd12:3456::1)$/);
      await lab.mark();
      expect(await tls("agent2", "private.allowed.test", family)).toMatchObject(cut);
      expect(await get("agent2", "private.allowed.test", family)).toMatchObject({ status: 403 });
      await records.find({ reason: "private-answer", group: "agent-2", name: "private.allowed.test" });
      for (const to of ["192.168.1.1", "172.16.0.1", "fd12:3456::1"]) {
        expect((await lab.packets({ to })).packets, to).toBe(0);
      }
    },
  );

  test("of a zone with resolvers of its own hold for its names", async () => {
    expect(await tls("agent1", "host.corp.test", 4)).toMatchObject(connected);
    await records.find({ reason: "allowed", name: "host.corp.test", destination: "192.168.1.1" });
  });

  test.each(closed)("never lead %s to management, clients, metadata or the gateway", async (label) => {
    const name = `${label}.allowed.test`;
    for (const family of families) {
      await lab.mark();
      expect(await tls("agent1", name, family), `IPv${family}`).toMatchObject(cut);
      const plain = await get("agent1", name, family);
      expect(plain.outcome === "connected" ? plain.status : plain.outcome).toSatisfy(
        (end) => end === 403 || end === 503,
      );
      const { admin, agent2: neighbour, wan, lan } = lab.addresses;
      for (const to of [admin, neighbour, wan, lan].map((pair) => pair[`v${family}`])) {
        expect((await lab.packets({ to, protocol: "tcp" })).packets, to).toBe(0);
      }
    }
  });
});

describe("deny", () => {
  const without = domains.flatMap((entry) => {
    if (typeof entry === "string" || !/^(private|shared-space)/.test(entry.domain)) return [entry];
    return entry.domain.startsWith("private") ? [entry.domain] : [];
  });
  const denying = () =>
    policy(
      {
        allow: { domains: without, ports: [80, 443] },
        deny: {
          domains: ["evil.wild.test", "*.bad.wild.test", "www.denied.test"],
          ips: ["203.0.113.11", "2001:db8:1::b"],
        },
      },
      { deny: { domains: ["a.allowed.test"], ips: ["203.0.113.12", "2001:db8:1::/124"] } },
    );

  test("ends what it names and what leads into its networks within a second, and nothing else", async () => {
    const openBoth = async (name: string, port: number, node: "agent1" | "agent2" = "agent1") =>
      await Promise.all(families.map((family) => open(name, port, family, node)));
    const kept = await Promise.all([
      openBoth("a.allowed.test", 443),
      openBoth("a.allowed.test", 80),
      openBoth("x.wild.test", 443),
      openBoth("www.allowed.test", 443),
    ]);
    const gone = await Promise.all([
      openBoth("evil.wild.test", 443),
      openBoth("b.allowed.test", 443),
      openBoth("b.allowed.test", 80),
      openBoth("a.allowed.test", 443, "agent2"),
      openBoth("www.allowed.test", 443, "agent2"),
      // It stays allowed, but has no answers any more.
      openBoth("private.allowed.test", 80),
    ]);
    // Nobody answers there, so it is still being connected when it is no longer allowed.
    let isApplied = false;
    const waiting = (async () => {
      while (!isApplied) await tls("agent1", "shared-space.allowed.test", 4, 8_000);
    })();
    await apply(denying());
    isApplied = true;
    const appliedMs = monotonicMs();
    await waiting;
    expect(monotonicMs() - appliedMs).toBeLessThan(1_000);
    const fatesOf = async (streams: readonly (readonly LabStream[])[]) => await Promise.all(streams.flat().map(fateOf));
    const [keptFates, goneFates] = await Promise.all([fatesOf(kept), fatesOf(gone)]);
    expect(keptFates).toEqual(Array(8).fill("goes on"));
    expect(goneFates).toEqual(Array(12).fill("ended"));
    await Promise.all(kept.flat().map((stream) => stream.close()));
  });

  test.each(families)("wins over every allow, by name and by address, over IPv%i", async (family) => {
    const far = [10, 11, 12, 42].map((n) => service(n, family));
    const packets = async (): Promise<number> => {
      const counts = await Promise.all(far.map(async (to) => (await lab.packets({ to })).packets));
      return counts.reduce((sum, count) => sum + count, 0);
    };
    // What ended before may still be told so.
    await eventually("nothing comes any more", async () => {
      await lab.mark();
      await sleepMs(50);
      return (await packets()) === 0;
    });
    await records.mark();
    for (const name of ["evil.wild.test", "x.bad.wild.test", "deep.x.bad.wild.test", "b.allowed.test"]) {
      expect(await tls("agent1", name, family), name).toMatchObject(cut);
      await records.find({ plane: "tls", verdict: "deny", reason: "denied-explicit", name });
      const answer = await get("agent1", name, family);
      expect(answer).toMatchObject({ status: 403, body: expect.stringContaining('"reason":"denied-explicit"') });
    }
    for (const name of ["a.allowed.test", "www.allowed.test"]) {
      expect(await tls("agent2", name, family), name).toMatchObject(cut);
      await records.find({ plane: "tls", verdict: "deny", reason: "denied-explicit", name, group: "agent-2" });
    }
    expect(await packets()).toBe(0);
    for (const name of ["a.allowed.test", "www.allowed.test", "bad.wild.test", "x.wild.test"]) {
      expect(await tls("agent1", name, family), name).toMatchObject(connected);
    }
  });

  test("counts for the name in the ClientHello: of an alias only the DNS knows, which gives no address", async () => {
    const answer = await lab.client("agent1").resolve("to-denied.allowed.test");
    expect(answer).toMatchObject({ rcode: "NXDOMAIN", addresses: [] });
    // Documented as what is left: whoever dials without asking is led on, and only a denied network ends that.
    expect(await tls("agent1", "to-denied.allowed.test", 4)).toMatchObject(connected);
  });

  test("opens again what it no longer names", async () => {
    await apply(policy());
    for (const name of ["evil.wild.test", "b.allowed.test", "private.allowed.test", "to-denied.allowed.test"]) {
      expect(await tls("agent1", name, 4), name).toMatchObject(connected);
    }
    expect(await tls("agent2", "a.allowed.test", 6)).toMatchObject(connected);
  });
});

describe("an audit in SNI mode", () => {
  test("puts the proxy in nobody's way, and records what would be denied by name and by address", async () => {
    await apply(policy({ mode: "audit" }, { mode: "enforce" }));
    await records.mark();
    const one = lab.client("agent1");
    const run = join(gateway.folder, "run");
    const client = lab.addresses.agent1.v4;
    // Nothing of it has a name that a proxy could read.
    expect(await one.connect(service(61, 4), 443)).toMatchObject(connected);
    expect(await one.tls(service(40, 4), 443, { servername: "" })).toMatchObject(connected);
    expect(await one.tls("www.denied.test", 443, { family: 4 })).toMatchObject({ ...connected, authorized: true });
    const passed = { plane: "ip", verdict: "would-deny", client, destination: service(61, 4), port: 443 };
    const isPassed = (record: object): boolean => matches(record, { ...passed, reason: "ip-not-allowed" });
    await awaitRecords(run, isPassed);
    const named = { plane: "dns", verdict: "would-deny", reason: "dns-not-allowed", name: "www.denied.test", client };
    await awaitRecords(run, (record) => matches(record, named));
    // Private and reserved addresses stay closed, and a host that is enforced goes through the proxy as ever.
    expect(await one.connect("10.80.0.1", 443)).not.toMatchObject(connected);
    expect(await tls("agent2", "www.denied.test", 4)).toMatchObject(cut);
    await records.find({ verdict: "deny", reason: "sni-not-allowed", group: "agent-2" });
    expect(await tls("agent2", "a.allowed.test", 4)).toMatchObject(connected);
  });

  test("ends with what nobody allows, and the proxy carries on", async () => {
    const forbidden = await open("www.denied.test", 443, 4, "agent1");
    await apply(policy());
    await forbidden.write();
    expect(await fateOf(forbidden)).toBe("ended");
    expect(await tls("agent1", "www.denied.test", 4)).toMatchObject(cut);
    expect(await tls("agent1", "a.allowed.test", 4)).toMatchObject(connected);
  });
});

function matches(record: object, wanted: { readonly [key: string]: unknown }): boolean {
  return Object.entries(wanted).every(([key, value]) => (record as { readonly [key: string]: unknown })[key] === value);
}

test.each(families)(
  "an allowed server that does not accept, over IPv%i: closed at once, and recorded as that",
  async (family) => {
    const name = "www.allowed.test";
    const [to = ""] = lab.names[name][`v${family}`];
    await lab.block([4, 6].map((one) => ({ to: service(12, one as 4 | 6), protocol: "tcp", port: 443, how: "reset" })));
    await records.mark();
    const answer = await lab.client("agent1").tls(to, 443, { servername: name });
    await lab.block([]);
    expect(answer.outcome).not.toBe("connected");
    expect(answer.ms).toBeLessThan(1_000);
    const record = await records.find({ reason: "connect-failed", name });
    expect(record).toMatchObject({ plane: "tls", verdict: "allow", client: lab.addresses.agent1[`v${family}`] });
    expect((await lab.client("agent1").tls(to, 443, { servername: name })).outcome).toBe("connected");
  },
);
