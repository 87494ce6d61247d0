import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { UploadResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { awaitRecords } from "../support/deny-records.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { readProxyRecords } from "../support/proxy-records.ts";

/** `exfil`: how much of a host's traffic to a name arrives on the internet side, straight and through the proxy. */

const CAP = 1_500_000;
/** Segments that the network card has joined are let through or refused as one. */
const LARGEST_BYTES = 128 * 1024;
const SECOND_CAP = 300_000;
const domains = ["a.allowed.test", "b.allowed.test", "www.allowed.test", "api.allowed.test", "*.wild.test"];
const daily = (bytes: number) => ({ bytes, period: "day" });
const caps = {
  "a.allowed.test": daily(CAP),
  "b.allowed.test": daily(CAP),
  "*.wild.test": daily(CAP),
  "api.allowed.test": { bytes: SECOND_CAP, period: "second" },
};

/** agent1 goes straight and guest through the proxy, both with caps; agent2 and stray do the same without. */
function policyWith(domainCaps: object, others: object = {}): { readonly [key: string]: unknown } {
  const exfil = { domains: domainCaps };
  return {
    version: 1,
    allow: { domains, ports: [80, 443, 7000, 7002] },
    proxy: { mode: "sni-allowlist" },
    hosts: {
      "agent-1": { sources: ["10.80.0.10", "fd80::10"], proxy: { mode: "disabled" }, exfil },
      "agent-2": { sources: ["10.80.0.11", "fd80::11"], proxy: { mode: "disabled" } },
      guest: { sources: ["10.81.0.0/24", "fd81::/64"], exfil },
      ...others,
    },
  };
}

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policyWith(caps) });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});
afterAll(async () => {
  await lab?.stop();
});
beforeEach(async () => void (await lab.mark()));

async function apply(domainCaps: object, others: object = {}): Promise<void> {
  const commit = await gateway.commit(policyWith(domainCaps, others));
  await gateway.awaitStatus(commit, ["success"]);
}

const quick = { warmUpMs: 0, forMs: 900, atKbps: 60_000, timeoutMs: 5_000 } as const;
const web = { ...quick, web: true, port: 443 } as const;
/** What a sender at that rate gets through in half the time, on a machine with other work. */
const MUCH = CAP + LARGEST_BYTES;

type Usage = { readonly host: string; readonly pattern: string; readonly used: number; readonly isSpent: boolean };

async function usageOf(host: string, pattern: string): Promise<Usage> {
  const { stdout } = await gateway.clawgress(["stats", "--json", "--config", gateway.configFile]);
  const { caps: usages } = JSON.parse(stdout) as { readonly caps: readonly Usage[] };
  const found = usages.find((usage) => usage.host === host && usage.pattern === pattern);
  if (found === undefined) throw new Error(`no cap ${host} ${pattern}: ${stdout}`);
  return found;
}

async function explain(from: string, to: string): Promise<string> {
  return (await gateway.clawgress(["explain", from, to, "--config", gateway.configFile])).stdout;
}

/** Returns what arrived of an upload that nobody ended. */
function lasted(result: UploadResult): number {
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  expect(result.ended, "flows that did not last").toBe(0);
  return result.arrivedBytes;
}

function expectCut(result: UploadResult): void {
  expect(result).toMatchObject({ outcome: "connected", ended: 1 });
}

async function pidOf(part: string): Promise<number> {
  const text = await readFile(join(gateway.folder, "run", `${part}.pid.json`), "utf8");
  return (JSON.parse(text) as { readonly pid: number }).pid;
}

const families = [
  ["IPv4", 4, "a.allowed.test"],
  ["IPv6", 6, "b.allowed.test"],
] as const;

describe.each(families)("over %s", (_, family, name) => {
  const far = () => lab.names[name][`v${family}`][0] ?? "";

  test("straight to the address: not a byte over the cap arrives; other names and hosts go on", async () => {
    const [capped, otherName] = await Promise.all([
      lab.client("agent1").upload(name, { ...quick, family }),
      lab.client("agent1").upload("www.allowed.test", { ...quick, family }),
    ]);
    expectCut(capped);
    expect(lasted(otherName)).toBeGreaterThan(MUCH);
    const { bytes } = await lab.packets({ to: far(), port: 7002 });
    expect(bytes).toBeLessThanOrEqual(CAP);
    expect(bytes).toBeGreaterThan(CAP - LARGEST_BYTES);
    await lab.mark();
    expect(await lab.client("agent1").connect(name, 7000, { family })).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: far() })).packets).toBe(0);
    expect(lasted(await lab.client("agent2").upload(name, { ...quick, family }))).toBeGreaterThan(MUCH);
    const [record] = await awaitRecords(join(gateway.folder, "run"), ({ reason, destination }) => {
      return reason === "quota" && destination === far();
    });
    expect(record).toMatchObject({ plane: "ip", host: "agent-1", names: [name], action: "rst" });
    expect(record?.nearMiss).toMatch(/: 1.5 MB of 1.5 MB used until \d{4}-\d{2}-\d{2}T00:00:00Z$/);
    expect(record?.rule?.pointer).toBe(`/hosts/agent-1/exfil/domains/${name}`);
  });

  test("through the proxy: no more than the cap arrives; other names and hosts go on", async () => {
    const records = readProxyRecords(gateway);
    await records.mark();
    const [capped, otherName, otherHost] = await Promise.all([
      lab.client("guest").upload(name, { ...web, family }),
      lab.client("guest").upload("www.allowed.test", { ...web, family }),
      lab.client("stray").upload("www.allowed.test", { ...web, family }),
    ]);
    expectCut(capped);
    for (const other of [otherName, otherHost]) expect(lasted(other)).toBeGreaterThan(MUCH);
    // Packets of the far side have more headers than those that were counted.
    const { bytes } = await lab.packets({ to: far(), port: 443 });
    expect(bytes / CAP).toBeLessThan(1.02);
    expect(bytes / CAP).toBeGreaterThan(0.9);
    expect(lasted(await lab.client("stray").upload(name, { ...web, family }))).toBeGreaterThan(MUCH);
    await eventually("the proxy says why", async () => {
      expect((await lab.client("guest").tls(name, 443, { family })).outcome).toBe("reset");
      const { stdout } = await lab.exec("gateway", ["cat", join(gateway.folder, "run", "proxy", "spent.map")]);
      return stdout !== "" && (await usageOf("guest", name)).isSpent;
    });
    await lab.mark();
    expect((await lab.client("guest").tls(name, 443, { family })).outcome).toBe("reset");
    await records.find({ reason: "quota", name, group: "guest", verdict: "deny" });
    const plain = await lab.client("guest").get(name, 80, { family });
    expect(plain).toMatchObject({ outcome: "connected", status: 429 });
    expect(JSON.parse("body" in plain ? plain.body : "")).toMatchObject({
      ...{ error: "quota_used_up", reason: "quota", name },
      how: expect.stringMatching(/until \d{4}-\d{2}-\d{2}T00:00:00Z$/),
    });
    expect((await lab.packets({ to: far() })).packets).toBe(0);
  });
});

test("the names of a wildcard share its cap, and the kernel holds it while the gate stands still", async () => {
  const one = await lab.client("agent1").resolve("one.wild.test");
  const far = one.outcome === "answer" ? (one.addresses[0] ?? "") : "";
  expect(lasted(await lab.client("agent1").upload(far, { ...quick, forMs: 200, atKbps: 30_000 }))).toBeGreaterThan(0);
  await lab.client("agent1").resolve("two.wild.test");
  const gate = await pidOf("gate");
  process.kill(gate, "SIGSTOP");
  try {
    expectCut(await lab.client("agent1").upload(far, quick));
    expect(await lab.client("agent1").connect(far, 7000)).toMatchObject({ outcome: "refused" });
    const { bytes } = await lab.packets({ to: far });
    expect(bytes).toBeLessThanOrEqual(CAP);
    expect(bytes).toBeGreaterThan(CAP - LARGEST_BYTES);
  } finally {
    process.kill(gate, "SIGCONT");
  }
});

test.each([
  ["straight", "agent1", 7002],
  ["through the proxy", "guest", 443],
] as const)("%s, each period opens again by itself", async (_, node, port) => {
  const startedMs = performance.now();
  let cuts = 0;
  await eventually("it is open in three seconds and closed in between", async () => {
    const result = await lab.client(node).upload("api.allowed.test", { ...quick, port, web: port === 443, forMs: 300 });
    if (result.outcome === "connected" && result.ended === 1) cuts += 1;
    return cuts === 3;
  });
  const { bytes } = await lab.packets({ to: lab.names["api.allowed.test"].v4[0] ?? "", port });
  const seconds = Math.ceil((performance.now() - startedMs) / 1000) + 1;
  expect(bytes).toBeGreaterThan(3 * (SECOND_CAP - LARGEST_BYTES));
  expect(bytes).toBeLessThan(seconds * SECOND_CAP * 1.1);
});

describe("what a count outlives", () => {
  const far = () => lab.names["a.allowed.test"].v4[0] ?? "";
  const used = new Map<string, number>();
  const expectClosed = async (): Promise<void> => {
    const [straight, proxied] = await Promise.all([
      lab.client("agent1").connect(far(), 7000),
      lab.client("guest").tls(far(), 443, { servername: "a.allowed.test" }),
    ]);
    expect(straight.outcome).toBe("refused");
    expect(["refused", "reset", "timeout"]).toContain(proxied.outcome);
  };
  const expectKept = async (): Promise<void> => {
    await eventually("the gate answers", async () =>
      (await explain("agent-1", "a.allowed.test:7000")).includes("quota"),
    );
    for (const [host, before] of used) {
      expect(await usageOf(host, "a.allowed.test")).toMatchObject({ used: before, isSpent: true });
    }
  };
  beforeAll(async () => {
    for (const host of ["agent-1", "guest"]) {
      const usage = await usageOf(host, "a.allowed.test");
      expect(usage).toMatchObject({ used: CAP, isSpent: true });
      used.set(host, usage.used);
    }
  });

  test("another release; what comes under a cap with it is counted from then on, what has none goes on", async () => {
    const proxied = await lab.client("guest").stream("www.allowed.test", 443);
    const free = await lab.client("stray").stream("www.allowed.test", 443);
    if (!("stream" in proxied && "stream" in free)) throw new Error("no streams");
    await apply({ ...caps, "www.allowed.test": daily(CAP) }, { other: { sources: ["10.9.9.9"] } });
    expect((await proxied.stream.state()).state).not.toBe("open");
    expect((await free.stream.state()).state).toBe("open");
    await free.stream.close();
    await expectKept();
    await expectClosed();
    expectCut(await lab.client("guest").upload("www.allowed.test", web));
    expectCut(await lab.client("agent1").upload("www.allowed.test", quick));
  });

  test("a dead gate, a dead proxy, a dead agent, and a reboot", async () => {
    for (const part of ["gate", "proxy"]) {
      const pid = await pidOf(part);
      process.kill(pid, "SIGKILL");
      await expectClosed();
      await eventually(`the ${part} runs again`, async () => (await pidOf(part)) !== pid);
    }
    await expectKept();
    await expectClosed();

    await agent.kill("SIGKILL");
    await expectClosed();
    // As after a reboot: nothing runs, no rules stand, and what lies in the run folder is gone.
    const run = join(gateway.folder, "run");
    for (const name of (await readdir(run)).filter((entry) => entry.endsWith(".pid.json"))) {
      process.kill((JSON.parse(await readFile(join(run, name), "utf8")) as { pid: number }).pid, "SIGKILL");
    }
    await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"]);
    await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
    await rm(run, { recursive: true });
    agent = gateway.start();
    await eventually("the gateway serves again", async () => {
      const { outcome } = await lab.client("agent2").connect("a.allowed.test", 7000);
      return outcome === "connected";
    });
    await lab.client("agent1").resolve("a.allowed.test");
    await lab.mark();
    await expectKept();
    await expectClosed();
    expect((await lab.packets({ to: far() })).packets).toBe(0);
    expect(await explain("agent-1", "a.allowed.test:7000")).toMatch(
      /^DENY .*\n.*quota.*\n.*nearest: 1\.5 MB of 1\.5 MB used/,
    );
  });

  test("another cap: what it adds may be sent, and no more", async () => {
    await apply({ ...caps, "a.allowed.test": daily(CAP + 1_000_000) });
    expect(await explain("agent-1", "a.allowed.test:7000")).toMatch(/^ {2}cap: 1\.5 MB of 2\.5 MB used until/m);
    await lab.mark();
    const results = await Promise.all([
      lab.client("agent1").upload("a.allowed.test", quick),
      lab.client("guest").upload("a.allowed.test", web),
    ]);
    for (const result of results) expectCut(result);
    for (const port of [7002, 443]) {
      const { bytes } = await lab.packets({ to: far(), port });
      expect(bytes).toBeLessThan(1_050_000);
      expect(bytes).toBeGreaterThan(1_000_000 - LARGEST_BYTES - 50_000);
    }
  });
});

describe("beside what else a host may have", () => {
  const name = "b.allowed.test";
  const far = () => lab.names[name].v4[0] ?? "";
  const host = (more: object) => ({
    "agent-2": {
      ...{ sources: ["10.80.0.11", "fd80::11"], proxy: { mode: "disabled" } },
      ...{ exfil: { domains: { [name]: daily(CAP) } }, ...more },
    },
  });
  const timeOfDay = (inHours: number): string => new Date(Date.now() + inHours * 3_600_000).toISOString().slice(11, 19);
  const hours = (from: number, until: number): object => ({
    time_window: { start: timeOfDay(from), end: timeOfDay(until) },
  });

  test("under audit what is over the cap is told of, and let pass", async () => {
    await apply(caps, host({ mode: "audit" }));
    expect(lasted(await lab.client("agent2").upload(name, quick))).toBeGreaterThan(MUCH);
    await eventually("the cap is used up", async () => (await usageOf("agent-2", name)).isSpent);
    expect(lasted(await lab.client("agent2").upload(name, { ...quick, forMs: 300 }))).toBeGreaterThan(0);
    const [record] = await awaitRecords(join(gateway.folder, "run"), ({ reason, client }) => {
      return reason === "quota" && client === "10.80.0.11";
    });
    expect(record).toMatchObject({ plane: "ip", verdict: "would-deny", host: "agent-2", destination: far() });
  });

  test("once the audit is over it is closed, within its hours too, and outside them for another reason", async () => {
    await apply(caps, host(hours(-1, 1)));
    expect(await lab.client("agent2").connect(far(), 7000)).toMatchObject({ outcome: "refused" });
    expect(await lab.client("agent2").connect("a.allowed.test", 7000)).toMatchObject({ outcome: "connected" });
    expect(await explain("agent-2", `${name}:7000`)).toContain("quota");
    await apply(caps, host(hours(2, 3)));
    expect((await lab.client("agent2").connect("a.allowed.test", 7000)).outcome).toBe("unresolved");
    expect(await explain("agent-2", `${name}:7000`)).toContain("outside-window");
    // What was used up is not given back by hours that begin again.
    await apply(caps, host(hours(-1, 2)));
    expect(await lab.client("agent2").connect("a.allowed.test", 7000)).toMatchObject({ outcome: "connected" });
    await lab.mark();
    expect(await lab.client("agent2").connect(name, 7000)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: far() })).packets).toBe(0);
  });
});
