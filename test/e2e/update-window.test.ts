import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nowMs } from "../../agent/host/clock.ts";
import type { ConnectResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Hours in which changes are made. */

const policy = (domains: readonly string[], ports: readonly number[] = [80, 443]) => ({
  version: 1,
  allow: { domains, ports },
});
const REACHED = { outcome: "connected" };

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

/** Of two hours that begin so many hours from now, in UTC. */
function windowIn(hours: number): object {
  const at = (ms: number): string => new Date(ms).toISOString().slice(11, 16);
  const startMs = nowMs() + hours * 3_600_000;
  return { start: at(startMs), end: at(startMs + 2 * 3_600_000) };
}

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, {
    policy: policy(["a.allowed.test"]),
    config: { updates: { windows: [windowIn(3)] } },
  });
  agent = gateway.start();
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

async function awaitHeld(commit: string): Promise<void> {
  let said = "";
  await eventually("the commit is told to wait", async () => {
    const last = (await lab.statuses.posted()).filter(({ sha }) => sha === commit).at(-1);
    said = `${last?.state}: ${last?.description}`;
    return said.startsWith("pending: verified, not applied");
  }).catch((error: Error) => {
    throw new Error(`${error.message}; it says ${said}`);
  });
  expect(said).toMatch(/HELD_WINDOW.*changes are made daily/);
}

const reach = (name: string, port = 443): Promise<ConnectResult> => lab.client("agent1").connect(name, port);

test("GE26: out of hours the first policy comes into force, since nothing but it opens anything", async () => {
  await gateway.awaitStatus(await gateway.head(), ["success"]);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
});

test("GE26: a commit that opens anything waits, reported, over a restart too; one that only closes does not", async () => {
  const wider = await gateway.commit(policy(["a.allowed.test", "b.allowed.test"], [443]));
  await awaitHeld(wider);
  await agent.kill();
  agent = gateway.start();
  const closing = await gateway.commit(policy(["a.allowed.test"], [443]));
  await gateway.awaitStatus(closing, ["success"]);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
  expect(await reach("a.allowed.test", 80)).toMatchObject({ outcome: "refused" });
  expect(await reach("b.allowed.test")).toMatchObject({ outcome: "unresolved", rcode: "NXDOMAIN" });
});

test("GE26: it comes into force when the hours begin", async () => {
  const wider = await gateway.commit(policy(["a.allowed.test", "b.allowed.test"], [443]));
  await awaitHeld(wider);
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as object;
  await agent.kill();
  await writeFile(gateway.configFile, JSON.stringify({ ...config, updates: { windows: [windowIn(-1)] } }));
  agent = gateway.start();
  await gateway.awaitStatus(wider, ["success"]);
  expect(await reach("b.allowed.test")).toMatchObject(REACHED);
});
