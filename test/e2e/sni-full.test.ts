import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { ClientNode } from "../lab/addresses.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { clientHello } from "../support/client-hello.ts";
import { eventually, PATIENCE } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";

/** One machine holds connections through the proxy from as many addresses as it likes: the others go on. */

/** A quarter of what agent.json says where it says nothing. */
const MOST = 1_024;
const MOST_OF_CLIENT = 128;
const PER_CLIENT = 126;
const name = "x.wild.test";
const target = { 4: "203.0.113.60", 6: "2001:db8:1::3c" } as const;
const families = [4, 6] as const;

let lab: Lab;
let gateway: TestGateway;
let records: RecordReader;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, {
    policy: {
      version: 1,
      allow: { domains: ["*.wild.test"], ports: [80, 443] },
      proxy: { mode: "sni-allowlist" },
      hosts: {
        "agent-2": {
          sources: ["10.80.0.11/32", "fd80::11/128"],
          allow: { domains: ["*.wild.test"], ports: [80, 443] },
        },
        guests: { sources: ["10.81.0.0/24", "fd81::/64"], allow: { domains: ["*.wild.test"], ports: [80, 443] } },
      },
    },
    config: { proxy: { maxConnections: MOST, maxConnectionsPerClient: MOST_OF_CLIENT } },
  });
  gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  records = readProxyRecords(gateway);
});
afterAll(async () => {
  await lab?.stop();
});

const addressesOf = (network: string, first: number, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${network}${first + index}`);

const hogs: LabProcess[] = [];

interface Held {
  readonly held: number;
  readonly refused: number;
  readonly slowestRefusalMs: number;
}

/** Gives a machine more addresses and holds connections from each, until the process is killed. */
async function hold(node: ClientNode, sources: readonly string[], port: 80 | 443): Promise<Held> {
  const family = sources[0]?.includes(":") === true ? 6 : 4;
  const lines = sources.map((source) => `addr replace ${source}/${family === 4 ? "24" : "64 nodad"} dev eth0\n`);
  await lab.execChecked(node, ["ip", "-batch", "-"], { stdin: lines.join("") });
  // Without the alert that ends it.
  const hello = clientHello({ names: [name] }).subarray(0, -7);
  const request = Buffer.from(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  const payload = (port === 443 ? hello : request).toString("base64");
  const program = fileURLToPath(new URL("../support/hold-connections.mjs", import.meta.url));
  const argv = [process.execPath, program, target[family], String(port), payload, String(PER_CLIENT)];
  const hog = lab.spawn(node, [...argv, sources.join(",")]);
  hogs.push(hog);
  for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 50) {
    if (hog.output().endsWith("\n")) return JSON.parse(hog.output()) as Held;
    await sleepMs(50);
  }
  throw new Error(`the connections of ${node} have no fate: ${hog.output()}`);
}

/** What a machine reaches within a second, six times in a row. */
async function reached(node: ClientNode, family: 4 | 6): Promise<readonly (string | number)[]> {
  const seen: (string | number)[] = [];
  for (let round = 0; round < 6; round++) {
    const client = lab.client(node);
    const by = { name, servername: name, timeoutMs: 1_000 * PATIENCE };
    const tls = await client.tls(target[family], 443, by);
    const plain = await client.get(target[family], 80, by);
    seen.push(tls.outcome, plain.outcome === "connected" ? plain.status : plain.outcome);
  }
  return seen;
}
const all = Array(6).fill(["connected", 200]).flat();

/** Connections of TLS that the far side holds, or that the proxy does. */
async function held(port: "443" | "5443" = "5443"): Promise<number> {
  const argv = ["ss", "-Htn", "state", "established", `( sport = :${port} )`];
  return (await lab.execChecked(port === "443" ? "internet" : "gateway", argv)).split("\n").length - 1;
}

afterEach(async () => {
  await Promise.all(hogs.splice(0).map((hog) => hog.kill("SIGKILL")));
  await eventually("they are gone", async () => (await held()) + (await held("443")) < 50);
});

describe.each(families)("over IPv%i", (family) => {
  const [own, guests] = family === 4 ? ["10.80.0.", "10.81.0."] : ["fd80::", "fd81::"];

  test("many connections of one machine leave the others theirs, of its group and of other hosts", async () => {
    await records.mark();
    const sources = addressesOf(own, 101, 9);
    const seen = await hold("agent1", sources, 443);
    expect(seen.held + seen.refused).toBe(9 * PER_CLIENT);
    expect(seen.held).toBeGreaterThan(MOST * 0.4);
    expect(seen.held).toBeLessThanOrEqual(MOST * 0.55);
    // Nothing of those that were refused reached the far side.
    expect(await held("443")).toBeLessThanOrEqual(seen.held + 20);
    expect(seen.slowestRefusalMs).toBeLessThan(1_000 * PATIENCE);
    const client = sources.at(-1) ?? "";
    const record = await records.find({ reason: "proxy-rate", client });
    expect(record).toMatchObject({ plane: "tls", verdict: "deny", group: "*", action: "close", port: 443 });
    await eventually("each is counted", async () => {
      const lines = (await records.all()).filter(({ reason }) => reason === "proxy-rate");
      return lines.reduce((sum, { suppressed }) => sum + 1 + suppressed, 0) === seen.refused;
    });

    expect(await reached("stray", family)).toEqual(all);
    expect(await reached("agent2", family)).toEqual(all);

    // A whole host entry besides does the same: the third still has what it needs.
    const other = await hold("guest", addressesOf(guests, 101, 4), 443);
    expect(other.refused).toBeGreaterThan(0);
    expect(await reached("agent2", family)).toEqual(all);
  });

  test("once they are over everybody has all again", async () => {
    // The far side is still busy with their end.
    await eventually("one is served", async () => (await reached("agent1", family))[0] === "connected");
    expect(await reached("agent1", family)).toEqual(all);
  });

  test("plain HTTP is the same", async () => {
    await records.mark();
    const seen = await hold("agent1", addressesOf(own, 121, 8), 80);
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.slowestRefusalMs).toBeLessThan(1_000 * PATIENCE);
    expect(await reached("stray", family)).toEqual(all);
    expect(await reached("agent2", family)).toEqual(all);
    expect(await records.find({ reason: "proxy-rate", plane: "http" })).toMatchObject({ group: "*", port: 80 });
  });
});
