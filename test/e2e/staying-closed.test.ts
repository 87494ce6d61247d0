import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What fails stays closed, what runs goes on, and everything comes back by itself. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
const policy = (...domains: string[]) => ({ version: 1, allow: { domains, ports: [80, 443] } });

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy("a.allowed.test") });
});

afterAll(async () => {
  await lab?.stop();
});

async function pidOf(file: string): Promise<number> {
  const text = await readFile(join(gateway.folder, "run", file), "utf8");
  return (JSON.parse(text) as { readonly pid: number }).pid;
}

const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";

test("before the first commit is confirmed, nothing is open", async () => {
  await lab.git.fault({ kind: "status", status: 503 });
  agent = gateway.start();
  await eventually("the gate answers", async () => {
    const answer = await lab.client("agent1").resolve("a.allowed.test");
    return answer.outcome === "answer" && answer.rcode === "NXDOMAIN";
  });
  await lab.mark();
  const [address = ""] = lab.names["a.allowed.test"].v4;
  // Forwarding is turned on last; until then nothing is there to refuse.
  await eventually("a connection is refused", async () => {
    const { outcome } = await lab.client("agent1").connect(address, 443, { timeoutMs: 1_000 });
    expect(outcome).not.toBe("connected");
    return outcome === "refused";
  });
  expect((await lab.packets({ to: address })).packets).toBe(0);
});

test("a Git server that fails leaves everything as it is, and the next good poll goes on", async () => {
  await lab.git.fault(null);
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  for (const fault of [
    { kind: "status", status: 500 },
    { kind: "html" },
    { kind: "redirect" },
    { kind: "empty" },
    { kind: "truncate" },
    { kind: "reset" },
  ] as const) {
    await lab.git.fault(fault);
    await sleepMs(300);
    expect(await reaches("a.allowed.test"), fault.kind).toBe(true);
  }
  await lab.git.fault(null);
  const commit = await gateway.commit(policy("a.allowed.test", "b.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reaches("b.allowed.test")).toBe(true);
});

test("the gate is killed: flows go on, denied stays denied, and it is back by itself", async () => {
  const client = lab.client("agent1");
  const stream = await client.stream("a.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  process.kill(await pidOf("gate.pid.json"), "SIGKILL");
  await lab.mark();
  const [denied = ""] = lab.names["denied.test"].v4;
  expect(await client.connect(denied, 443)).toMatchObject({ outcome: "refused" });
  await eventually("names resolve again", () => reaches("b.allowed.test"));
  expect((await stream.stream.state()).state).toBe("open");
  const before = (await stream.stream.state()).bytes;
  await sleepMs(400);
  expect((await stream.stream.state()).bytes).toBeGreaterThan(before);
  expect((await lab.packets({ to: denied })).packets).toBe(0);
});

test("a name that the restarted gate never answered itself is still taken back by a commit", async () => {
  const client = lab.client("agent1");
  const stream = await client.stream("b.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  process.kill(await pidOf("gate.pid.json"), "SIGKILL");
  const commit = await gateway.commit(policy("a.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  await stream.stream.write();
  await sleepMs(200);
  expect((await stream.stream.state()).state).toBe("reset");
});

test("the agent is killed: everything stays enforced, and a new one takes over without a swap", async () => {
  await agent.kill("SIGKILL");
  expect(await reaches("a.allowed.test")).toBe(true);
  expect(await reaches("b.allowed.test")).toBe(false);
  const stream = await lab.client("agent1").stream("a.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  agent = gateway.start();
  const commit = await gateway.commit(policy("a.allowed.test", "www.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reaches("www.allowed.test")).toBe(true);
  expect((await stream.stream.state()).state).toBe("open");
});

test("GE6: named is killed: denied stays denied, none leaks, and it is back by itself", async () => {
  process.kill(await pidOf("named.pid.json"), "SIGKILL");
  const client = lab.client("agent1");
  await lab.mark();
  const answer = await client.resolve("www.denied.test");
  expect(answer).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN" });
  await eventually("names resolve again", () => reaches("www.allowed.test"));
  expect(await lab.queries({ name: "*.denied.test" })).toHaveLength(0);
  const commit = await gateway.commit(policy("a.allowed.test", "api.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reaches("api.allowed.test")).toBe(true);
});

test("management reaches the gateway and the machines behind it, whatever the policy says", async () => {
  const ping = async (to: string): Promise<number> =>
    (await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", to])).exitCode;
  for (const to of [lab.addresses.management, lab.addresses.agent1]) {
    expect(await ping(to.v4)).toBe(0);
    expect(await ping(to.v6)).toBe(0);
  }
  await lab.mark();
  // Only answers go back: from behind the gateway nobody opens anything towards management.
  expect(await lab.client("agent1").connect(lab.addresses.admin.v4, 22)).toMatchObject({ outcome: "refused" });
});

test("GE21: a state folder serves one agent", async () => {
  const result = await gateway.clawgress(["sync", "--json", "--config", gateway.configFile]);
  expect(result.exitCode).toBe(5);
  expect(JSON.parse(result.stdout)).toMatchObject({ code: "STATE_LOCKED" });
});
