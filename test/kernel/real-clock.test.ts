import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type PolicyText, setUpGateway, type TestGateway } from "../support/gateway.ts";
import { fateOf, openStream } from "../support/streams.ts";

/**
 * The machine's own clock is put forward and back: what has closed stays closed, and what is open closes in its time. Only a machine whose clock is nobody's may do that: `npm run kernel`.
 */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

const nowS = (): number => Date.now() / 1000;
const monotonicS = (): number => performance.now() / 1000;
const setClock = (atS: number): void => void execFileSync("date", ["--set", `@${atS.toFixed(3)}`]);

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
/** How much is left of the hours when the clock was put forward: what is tried meanwhile takes its time in an emulator. */
const LEFT_S = 120;
const BACK_S = HOUR_S / 2;
/** The design's bound for closing, and as much again for who measures in an emulator. */
const TOLERANCE_S = 4;

const networks = { v4: "203.0.113.13", v6: "2001:db8:1::d" } as const;
const denied = "203.0.113.49";
/** When this run began, when the hours end, and by how much the clock is wrong. */
const beganS = Math.floor(nowS());
const endS = beganS + 2 * HOUR_S;
/** When they end by a clock that nobody puts back. */
let endMonotonicS: number;

let streams: {
  readonly direct: readonly LabStream[];
  readonly proxied: LabStream;
  readonly kept: readonly LabStream[];
};

const agent1 = () => lab.client("agent1");
const agent2 = () => lab.client("agent2");
const guest = () => lab.client("guest");

const timeOfDay = (atS: number): string => new Date(atS * 1000).toISOString().slice(11, 19);
const between = (fromS: number, untilS: number): object => ({ start: timeOfDay(fromS), end: timeOfDay(untilS) });

const policyWith = (more: readonly string[]): PolicyText => ({
  version: 1,
  allow: {
    domains: ["www.allowed.test", "b.allowed.test", ...more],
    ips: [`${denied}/32`],
    ports: [80, 443],
  },
  deny: { ips: [{ network: `${denied}/32`, expires: new Date(endS * 1000).toISOString().replace(".000", "") }] },
  // Over when the clock is put forward, and open again by the clock that was put back.
  domain_time_windows: { "b.allowed.test": between(endS - BACK_S - HOUR_S / 4, endS - BACK_S + HOUR_S / 4) },
  hosts: {
    direct: {
      sources: ["10.80.0.10/32", "fd80::10/128"],
      allow: { domains: ["a.allowed.test"], ips: [`${networks.v4}/32`, `${networks.v6}/128`], ports: [80, 443] },
      time_window: between(beganS - HOUR_S, endS),
    },
    proxied: {
      sources: ["10.81.0.10/32", "fd81::10/128"],
      allow: { domains: ["health.allowed.test", "www.allowed.test"], ports: [443] },
      proxy: { mode: "sni-allowlist" },
      domain_time_windows: { "health.allowed.test": between(beganS - HOUR_S, endS) },
    },
  },
});

async function connectAll(): Promise<readonly string[]> {
  const results = await Promise.all([
    agent1().connect(networks.v4, 80),
    agent1().connect(networks.v6, 80),
    agent1().connect("a.allowed.test", 443),
  ]);
  return results.map(({ outcome }) => outcome);
}

const OPEN = ["connected", "connected", "connected"];
const addresses = () => [...lab.names["a.allowed.test"].v4, ...lab.names["a.allowed.test"].v6];

async function isProxied(servername: string): Promise<boolean> {
  const far = lab.names["denied.test"].v4[0] ?? "";
  return (await guest().tls(far, 443, { servername })).outcome === "connected";
}

/** Everything with hours is closed: refused at once, no name is told, and nothing of it reaches the far side. */
async function expectClosed(): Promise<void> {
  await lab.mark();
  const refused = await Promise.all(
    [...Object.values(networks), ...addresses()].map((address) => agent1().connect(address, 443)),
  );
  for (const { outcome } of refused) expect(outcome).toBe("refused");
  expect(await agent1().resolve("a.allowed.test")).toMatchObject({ rcode: "NXDOMAIN" });
  expect(await isProxied("health.allowed.test")).toBe(false);
  for (const to of [...Object.values(networks), ...addresses()])
    expect(await lab.packets({ to }), to).toMatchObject({ packets: 0 });
  // What has no hours is open meanwhile.
  expect(await agent2().connect("www.allowed.test", 443)).toMatchObject({ outcome: "connected" });
  expect(await isProxied("www.allowed.test")).toBe(true);
}

/** What was over does not begin again, and a denial whose end is not believed goes on. */
async function expectNothingOpens(): Promise<void> {
  expect(await agent2().resolve("b.allowed.test")).toMatchObject({ rcode: "NXDOMAIN" });
  expect(await agent2().connect(denied, 80)).toMatchObject({ outcome: "refused" });
}

const fatesOf = (all: readonly LabStream[]): Promise<readonly string[]> => Promise.all(all.map(fateOf));

/** An agent and a gate that end at once, and others. */
async function startAnew(): Promise<void> {
  const text = await readFile(join(gateway.folder, "run", "gate.pid.json"), "utf8");
  await agent.kill("SIGKILL");
  process.kill((JSON.parse(text) as { readonly pid: number }).pid, "SIGKILL");
  agent = gateway.start();
  await eventually(
    "a new gate answers",
    async () => (await agent2().connect("www.allowed.test", 443)).outcome === "connected",
  );
}

beforeAll(async () => {
  if (process.env["TEST_OWN_CLOCK"] !== "1") throw new Error("this sets the machine's clock: npm run kernel");
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policyWith([]) });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

test("put forward within the hours: everything goes on", async () => {
  const direct = await Promise.all([
    openStream(agent1(), networks.v4, 80, 4),
    openStream(agent1(), networks.v6, 80, 6),
    openStream(agent1(), "a.allowed.test", 443, 4),
  ]);
  const kept = await Promise.all([
    openStream(agent2(), "www.allowed.test", 443, 4),
    openStream(guest(), "www.allowed.test", 443, 4),
  ]);
  streams = { direct, kept, proxied: await openStream(guest(), "health.allowed.test", 443, 4) };
  setClock(endS - LEFT_S);
  endMonotonicS = monotonicS() + LEFT_S;
  expect(await fatesOf([...direct, ...kept, streams.proxied])).toEqual(Array(6).fill("goes on"));
  expect(await connectAll()).toEqual(OPEN);
  expect(await isProxied("health.allowed.test")).toBe(true);
  await expectNothingOpens();
  expect(monotonicS(), "all this took too long to see it open").toBeLessThan(endMonotonicS - LEFT_S / 2);
});

describe("put back by half an hour", () => {
  test("what was over stays over, what is open goes on, but through the proxy, which closes at once", async () => {
    setClock(nowS() - BACK_S);
    await eventually("the proxy closes", async () => !(await isProxied("health.allowed.test")));
    await eventually("its flow ends", async () => (await streams.proxied.state()).state !== "open");
    expect(await fatesOf([...streams.direct, ...streams.kept])).toEqual(Array(5).fill("goes on"));
    expect((await connectAll()).slice(0, 2)).toEqual(OPEN.slice(0, 2));
    await expectNothingOpens();
    expect(monotonicS(), "all this took too long to see it open").toBeLessThan(endMonotonicS - TOLERANCE_S);
  });

  test("closes when it would have closed, and stays closed", async () => {
    await sleepMs(Math.max(0, (endMonotonicS - TOLERANCE_S - monotonicS()) * 1000));
    expect((await streams.direct[0]?.state())?.state).toBe("open");
    await sleepMs((endMonotonicS + TOLERANCE_S - monotonicS()) * 1000);
    for (const stream of streams.direct) {
      const { state, silentMs } = await stream.state();
      expect(state !== "open" || silentMs > 800).toBe(true);
    }
    for (let time = 0; time < 2; time++) {
      await expectClosed();
      await expectNothingOpens();
      await sleepMs(3000);
    }
    expect(await fatesOf(streams.kept)).toEqual(["goes on", "goes on"]);
  });

  test("stays closed with another agent and gate", async () => {
    await startAnew();
    expect(nowS()).toBeLessThan(endS);
    await expectClosed();
    await expectNothingOpens();
  });

  test("takes commits meanwhile", async () => {
    const commit = await gateway.commit(policyWith(["api.allowed.test"]));
    await gateway.awaitStatus(commit, ["success"]);
    expect(await agent2().connect("api.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    await expectClosed();
    await expectNothingOpens();
  });
});

describe("put right", () => {
  test("hours that are over are over, and a denial that has ended has ended", async () => {
    setClock(endS + HOUR_S);
    await eventually("the denial ends", async () => (await agent2().connect(denied, 80)).outcome === "connected");
    await expectClosed();
    expect(await agent2().resolve("b.allowed.test")).toMatchObject({ rcode: "NXDOMAIN" });
  });

  test("the next hours begin, on the next day", async () => {
    setClock(beganS + DAY_S);
    await eventually("they begin", async () => JSON.stringify(await connectAll()) === JSON.stringify(OPEN));
    await eventually("the proxy opens", async () => await isProxied("health.allowed.test"));
  });

  test("put forward over their end they are over at once, as for a machine that has slept: its clock jumps, its timeouts stood still", async () => {
    const runs = await Promise.all([
      openStream(agent1(), networks.v4, 80, 4),
      openStream(agent1(), networks.v6, 80, 6),
      openStream(agent1(), "a.allowed.test", 443, 4),
    ]);
    const proxied = await openStream(guest(), "health.allowed.test", 443, 4);
    const kept = await openStream(agent2(), "www.allowed.test", 443, 4);
    setClock(endS + DAY_S + 1);
    const refused = await Promise.all(Object.values(networks).map((address) => agent1().connect(address, 80)));
    expect(refused.map(({ outcome }) => outcome)).toEqual(["refused", "refused"]);
    const heard = await Promise.all(runs.map(async (stream) => (await stream.state()).bytes));
    await sleepMs(1500);
    expect(await Promise.all(runs.map(async (stream) => (await stream.state()).bytes))).toEqual(heard);
    await eventually("the proxied flow ends", async () => (await proxied.state()).state !== "open");
    await expectClosed();
    expect(await fateOf(kept)).toBe("goes on");
  });
});
