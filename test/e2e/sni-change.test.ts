import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { askProxy } from "../../agent/apply/proxy-control.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { readProcess } from "../../agent/host/process-table.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually, PATIENCE } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";
import { fateOf, openStream } from "../support/streams.ts";

/** SNI mode while policies change and parts die: what is still allowed goes on, what is not ends, and nothing opens. */

/** A hundred take three minutes; the way is the same. */
const APPLIES = Number(process.env["CLAWGRESS_APPLIES"] ?? 4);

let lab: Lab;
let gateway: TestGateway;
let records: RecordReader;
let agent: LabProcess;

const proxy = { mode: "sni-allowlist" };
const hosts = (sources: readonly string[], ...domains: string[]) => ({
  one: { sources, allow: { domains, ports: [80, 443] } },
});
const agent1 = ["10.80.0.10/32", "fd80::10/128"];
const agent2 = ["10.80.0.11/32", "fd80::11/128"];
const policy = (...domains: string[]) => ({ version: 1, allow: { domains, ports: [80, 443] }, proxy });
const everything = ["a.allowed.test", "b.allowed.test", "*.wild.test"];

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(...everything) });
  records = readProxyRecords(gateway);
  agent = gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
});
afterAll(async () => {
  await lab?.stop();
});

/** Starts another agent and resolves when it has put in force what was confirmed, and looked whether it is. */
async function startAgain(): Promise<LabProcess> {
  const known = (await gateway.log()).length;
  const started = gateway.start();
  await eventually("the agent enforces", async () => {
    return (await gateway.log()).slice(known).some(({ event }) => event === "enforcing");
  });
  return started;
}

async function apply(document: object): Promise<void> {
  const commit = await gateway.commit({ ...document });
  await gateway.awaitStatus(commit, ["success"]);
}

async function open(
  name: string,
  port: number,
  family: 4 | 6,
  node: "agent1" | "agent2" = "agent1",
): Promise<LabStream> {
  return await openStream(lab.client(node), name, port, family);
}

async function proxyPid(): Promise<number> {
  const text = await readFile(join(gateway.folder, "run", "proxy.pid.json"), "utf8");
  return (JSON.parse(text) as { readonly pid: number }).pid;
}

const reaches = async (name: string, node: "agent1" | "agent2" | "guest" = "agent1"): Promise<boolean> => {
  const address = lab.names["denied.test"].v4[0] ?? "";
  return (await lab.client(node).tls(address, 443, { servername: name })).outcome === "connected";
};

describe("a name that goes", () => {
  test("ends its connections within a second, and no other's", async () => {
    const openBoth = async (name: string, port: number, node: "agent1" | "agent2"): Promise<readonly LabStream[]> =>
      await Promise.all(([4, 6] as const).map((family) => open(name, port, family, node)));
    const kept = await Promise.all([
      openBoth("a.allowed.test", 443, "agent1"),
      openBoth("a.allowed.test", 443, "agent2"),
      openBoth("a.allowed.test", 80, "agent1"),
    ]);
    const gone = await Promise.all([
      openBoth("b.allowed.test", 443, "agent1"),
      openBoth("x.wild.test", 443, "agent2"),
      openBoth("b.allowed.test", 80, "agent1"),
    ]);
    const pid = await proxyPid();
    await apply(policy("a.allowed.test"));
    const [keptFates, goneFates] = await Promise.all(
      [kept, gone].map((streams) => Promise.all(streams.flat().map(fateOf))),
    );
    expect(keptFates).toEqual(Array(6).fill("goes on"));
    expect(goneFates).toEqual(Array(6).fill("ended"));
    expect(await reaches("b.allowed.test")).toBe(false);
    expect(await proxyPid()).toBe(pid);
    await apply(policy(...everything));
    expect(await reaches("b.allowed.test")).toBe(true);
    await Promise.all(kept.flat().map((stream) => stream.close()));
  });

  test("is taken from a client alone when only its own list changes", async () => {
    await apply({ ...policy(...everything), hosts: hosts(agent2, ...everything) });
    const [one, two] = [await open("b.allowed.test", 443, 4), await open("b.allowed.test", 443, 4, "agent2")];
    await apply({ ...policy(...everything), hosts: hosts(agent2, "a.allowed.test") });
    expect(await Promise.all([one, two].map(fateOf))).toEqual(["goes on", "ended"]);
    expect(await reaches("b.allowed.test", "agent2")).toBe(false);
    await one.close();
  });
});

test("a client that goes to another host entry has that one's names at once, and no others in between", async () => {
  await apply({ ...policy("a.allowed.test"), hosts: hosts(agent2, "b.allowed.test") });
  const stream = await open("a.allowed.test", 443, 4);
  expect(await reaches("b.allowed.test")).toBe(false);
  await apply({ ...policy("a.allowed.test"), hosts: hosts(agent1, "b.allowed.test") });
  expect(await fateOf(stream)).toBe("ended");
  expect(await reaches("a.allowed.test")).toBe(false);
  expect(await reaches("b.allowed.test")).toBe(true);
  expect(await reaches("b.allowed.test", "agent2")).toBe(false);
});

test("a list of names for TLS leaves the other names their other ports", async () => {
  await apply({ ...policy("a.allowed.test", "b.allowed.test"), proxy: { ...proxy, domains: ["b.allowed.test"] } });
  const client = lab.client("agent1");
  expect(await reaches("b.allowed.test")).toBe(true);
  expect(await reaches("a.allowed.test")).toBe(false);
  expect(await client.get("a.allowed.test", 80)).toMatchObject({ outcome: "connected", status: 200 });
});

test("the proxy is killed: 443 and 80 are closed, other ports are not, and it is back by itself", async () => {
  await apply({ ...policy(...everything), allow: { domains: everything, ports: [80, 443, 7000] } });
  const client = lab.client("agent1");
  const echo = await open("a.allowed.test", 7000, 4).catch(() => null);
  const address = lab.names["a.allowed.test"].v4[0] ?? "";
  await lab.mark();
  process.kill(await proxyPid(), "SIGKILL");
  const during = await Promise.all([client.connect(address, 443), client.connect(address, 80)]);
  for (const result of during) expect(result.outcome).toMatch(/refused|connected/);
  expect((await lab.packets({ to: address, port: 443 })).packets).toBe(0);
  await eventually("the proxy serves again", () => reaches("a.allowed.test"));
  expect(await reaches("www.denied.test")).toBe(false);
  await echo?.close();
});

test("with the agent dead too, the proxy goes on; with the proxy dead as well, all of it is refused", async () => {
  // An agent that dies while it notes whom it started leaves nothing to find the proxy by.
  await eventually("the proxy's pid is noted", async () => existsSync(`/proc/${await proxyPid()}`));
  await agent.kill("SIGKILL");
  const client = lab.client("agent1");
  expect(await reaches("a.allowed.test")).toBe(true);
  process.kill(await proxyPid(), "SIGKILL");
  await sleepMs(100);
  const address = lab.names["a.allowed.test"].v4[0] ?? "";
  await lab.mark();
  for (const port of [443, 80]) {
    const answer = await client.connect(address, port);
    expect(answer).toMatchObject({ outcome: "refused", code: "ECONNREFUSED" });
    expect(answer.ms).toBeLessThan(500);
    expect((await lab.packets({ to: address, port })).packets).toBe(0);
  }
  const status = async () => await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
  const down = await status();
  expect(JSON.parse(down.stdout)).toMatchObject({ ok: false, proxy: { pid: null, isNeeded: true } });
  expect(down.exitCode).not.toBe(0);
  agent = await startAgain();
  await eventually("a new agent starts it again", () => reaches("a.allowed.test"));
  await eventually("all is served again", async () => (await status()).exitCode === 0);
});

test("maps that somebody changed by hand are put right when the agent starts", async () => {
  const socket = join(gateway.folder, "run", "proxy", "control", "stats.sock");
  expect((await askProxy(socket, "add map tls.map wild.test@* 1")).trim()).toBe("");
  await agent.kill("SIGTERM");
  agent = await startAgain();
  await eventually(
    "the line is gone",
    async () => !(await askProxy(socket, "show map tls.map")).includes("wild.test@*"),
  );
});

test("a record says which commit it was judged by, and stands once only", async () => {
  await records.mark();
  expect(await reaches("www.denied.test")).toBe(false);
  const record = await records.find({ reason: "sni-not-allowed", name: "www.denied.test" });
  const head = await gateway.head();
  expect(record).toMatchObject({ commit: head, gateway: "gw-lab" });
  await agent.kill("SIGTERM");
  agent = await startAgain();
  await records.mark();
  expect(await reaches("a.allowed.test")).toBe(true);
  await records.find({ reason: "allowed", name: "a.allowed.test" });
  const text = await readFile(join(gateway.folder, "run", "proxy.jsonl"), "utf8");
  const ids = text.split("\n").flatMap((line) => /"id":"([^"]+)"/.exec(line)?.[1] ?? []);
  expect(new Set(ids).size).toBe(ids.length);
});

test(
  `allowed connections go on through ${APPLIES} applies in a row, and the proxy stays the same`,
  async () => {
    const pid = await proxyPid();
    const streams = await Promise.all([
      ...([4, 6] as const).map((family) => open("a.allowed.test", 443, family)),
      open("a.allowed.test", 80, 4),
    ]);
    for (let count = 0; count < APPLIES; count++) {
      const denied = count % 2 === 0 ? { deny: { domains: ["b.allowed.test"], ips: [`198.51.100.${count}`] } } : {};
      await apply({ ...policy(...everything, `n${count}.wild.test`), ...denied });
    }
    expect(await Promise.all(streams.map(fateOf))).toEqual(Array(3).fill("goes on"));
    expect(await proxyPid()).toBe(pid);
    await Promise.all(streams.map((stream) => stream.close()));
    await apply(policy(...everything));
  },
  (60_000 + APPLIES * 8_000) * PATIENCE,
);

test("leaving SNI mode stops the proxy, and coming back closes what was open by address", async () => {
  const proxied = await open("a.allowed.test", 443, 4);
  const pid = await proxyPid();
  await apply({ ...policy(...everything), proxy: { mode: "disabled" } });
  expect(await fateOf(proxied)).toBe("ended");
  // An orphan is a zombie until init looks after it.
  expect(await readProcess(pid)).toBeNull();
  const direct = await open("a.allowed.test", 443, 4);
  await apply(policy(...everything));
  await direct.write();
  expect(await fateOf(direct)).toBe("ended");
  expect(await reaches("a.allowed.test")).toBe(true);
});

test("deny-all closes it", async () => {
  const stream = await open("a.allowed.test", 443, 4);
  await apply({ version: 1, mode: "deny-all", allow: { domains: everything }, proxy });
  expect(await fateOf(stream)).toBe("ended");
  expect(await reaches("a.allowed.test")).toBe(false);
});
