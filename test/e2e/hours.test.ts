import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabClient, LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { awaitRecords, readRecords } from "../support/deny-records.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { openStream } from "../support/streams.ts";

/** Hours and expiry on real traffic: what closes and opens on time, and with which of our processes dead. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess | null = null;

/** How late something may open, or how late or early it may close. */
const TOLERANCE_S = 2;
/** What signing, fetching and applying a policy may take; the later ones are for a busy machine. */
const LEADS_S: readonly number[] = [8, 20, 45];
/** What a test does before the moment that it waits for. */
const SPARE_S = 3;

const direct = ["10.80.0.10/32", "fd80::10/128"];
const control = ["10.80.0.11/32", "fd80::11/128"];
const proxied = ["10.81.0.10/32", "fd81::10/128"];
const networks = ["203.0.113.13/32", "2001:db8:1::d/128"];
const ports = [80, 443, "7001/udp"];

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: { version: 1, mode: "deny-all" } });
});

afterAll(async () => {
  await lab?.stop();
});

const nowS = (): number => Date.now() / 1000;
const timeOfDay = (atS: number): string => new Date(atS * 1000).toISOString().slice(11, 19);
const instant = (atS: number): string => new Date(atS * 1000).toISOString().replace(".000", "");
const between = (fromS: number, untilS: number): object => ({ start: timeOfDay(fromS), end: timeOfDay(untilS) });
const untilTime = async (atS: number): Promise<void> => await sleepMs(Math.max(0, (atS - nowS()) * 1000));

async function pidOf(name: string): Promise<number> {
  const text = await readFile(join(gateway.folder, "run", `${name}.pid.json`), "utf8");
  return (JSON.parse(text) as { readonly pid: number }).pid;
}

/** Resolves with a moment that is still to come when the policy that speaks of it is in force. */
async function inForceBefore(policyOf: (momentS: number) => object): Promise<number> {
  for (const leadS of LEADS_S) {
    const momentS = Math.ceil(nowS()) + leadS;
    const commit = await gateway.commit({ ...policyOf(momentS) });
    if (agent === null) expect(await gateway.sync()).toMatchObject({ outcome: "confirmed" });
    else await gateway.awaitStatus(commit, ["success"]);
    if (nowS() < momentS - SPARE_S) return momentS;
  }
  throw new Error("no policy was in force in time");
}

/** A line arrives every 100 ms; who hears nothing for so long is cut off, and learns it with its own next packet. */
const SILENT_MS = 1_200;

/** Resolves with the moment at which a stream ended or its last byte came, in seconds since the epoch. */
async function endOf(stream: LabStream): Promise<number> {
  let endedS = 0;
  await eventually("the stream ends", async () => {
    const { state, endedMs, silentMs } = await stream.state();
    endedS = nowS() - (endedMs ?? silentMs) / 1000;
    return state !== "open" || silentMs > SILENT_MS;
  });
  return endedS;
}

/** Resolves with the first moment at which something succeeds, in seconds since the epoch. */
async function firstSuccess(what: string, attempt: () => Promise<boolean>): Promise<number> {
  let atS = 0;
  await eventually(what, async () => {
    const startedS = nowS();
    if (!(await attempt())) return false;
    atS = startedS;
    return true;
  });
  return atS;
}

describe("hours that end, and an entry that expires", () => {
  let closeS: number;
  let streams: { readonly direct: readonly LabStream[]; readonly expiring: readonly LabStream[] };
  let proxiedStreams: readonly LabStream[];
  let controls: readonly LabStream[];

  const host = (node: "agent1" | "agent2" | "guest"): LabClient => lab.client(node);

  test("are open before, for names, networks, UDP and the proxy", async () => {
    const policyUntil = (endS: number): object => ({
      version: 1,
      allow: {
        domains: ["www.allowed.test", { domain: "b.allowed.test", expires: instant(endS) }],
        ips: ["203.0.113.49/32"],
        ports,
      },
      deny: { ips: [{ network: "203.0.113.49/32", expires: instant(endS) }] },
      hosts: {
        direct: {
          sources: direct,
          allow: { domains: ["a.allowed.test"], ips: networks, ports },
          time_window: between(endS - 3600, endS),
        },
        control: { sources: control },
        proxied: {
          sources: proxied,
          allow: { domains: ["health.allowed.test", "www.allowed.test"], ports: [80, 443] },
          proxy: { mode: "sni-allowlist" },
          domain_time_windows: { "health.allowed.test": between(endS - 3600, endS) },
        },
      },
    });
    closeS = await inForceBefore(policyUntil);
    const families = [4, 6] as const;
    const each = (node: "agent1" | "agent2" | "guest", name: string, port: number): Promise<LabStream[]> =>
      Promise.all(families.map((family) => openStream(host(node), name, port, family)));
    const [byName, byAddress, expiring, throughProxy, kept, keptProxied] = await Promise.all([
      each("agent1", "a.allowed.test", 443),
      Promise.all([
        openStream(host("agent1"), "203.0.113.13", 80, 4),
        openStream(host("agent1"), "2001:db8:1::d", 80, 6),
      ]),
      each("agent2", "b.allowed.test", 443),
      each("guest", "health.allowed.test", 443),
      each("agent2", "www.allowed.test", 443),
      each("guest", "www.allowed.test", 443),
    ]);
    streams = { direct: [...byName, ...byAddress], expiring };
    proxiedStreams = throughProxy;
    controls = [...kept, ...keptProxied];
    for (const family of families) {
      expect(await host("agent1").udp("a.allowed.test", 7001, { family })).toMatchObject({ outcome: "answered" });
    }
    expect(await host("agent2").connect("203.0.113.49", 80)).toMatchObject({ outcome: "refused" });
    expect(nowS(), "all this took too long to see it open").toBeLessThan(closeS);
  });

  test("end on time with agent and gate dead: running flows too, but those through the proxy", async () => {
    process.kill(await pidOf("gate"), "SIGKILL");
    await untilTime(closeS - 0.5);
    const states = await Promise.all([...streams.direct, ...streams.expiring].map((stream) => stream.state()));
    expect(states.map(({ state }) => state)).toEqual(Array(6).fill("open"));
    const ends = await Promise.all([...streams.direct, ...streams.expiring].map(endOf));
    for (const endedS of ends) expect(Math.abs(endedS - closeS)).toBeLessThan(TOLERANCE_S);

    await untilTime(closeS + 1);
    await lab.mark();
    const { client } = lab;
    const refused = await Promise.all([
      ...lab.names["a.allowed.test"].v4.map((address) => client("agent1").connect(address, 443)),
      ...lab.names["a.allowed.test"].v6.map((address) => client("agent1").connect(address, 443)),
      client("agent1").connect("203.0.113.13", 80),
      client("agent1").connect("2001:db8:1::d", 80),
      client("agent1").udp("203.0.113.13", 7001),
      client("agent1").udp("2001:db8:1::d", 7001),
      ...lab.names["b.allowed.test"].v4.map((address) => client("agent2").connect(address, 443)),
    ]);
    expect(refused.map(({ outcome }) => outcome)).toEqual(Array(7).fill("refused"));
    for (const { ms } of refused) expect(ms).toBeLessThan(1000);
    for (const to of ["203.0.113.10", "2001:db8:1::a", "203.0.113.11", "203.0.113.13", "2001:db8:1::d"]) {
      expect(await lab.packets({ to }), to).toMatchObject({ packets: 0 });
    }
    // A denial that ends does so with everybody dead, too.
    expect(await client("agent2").connect("203.0.113.49", 80)).toMatchObject({ outcome: "connected" });
    // New ones through the proxy are refused by its clock; who is connected goes on until the agent is back.
    const far = lab.names["denied.test"].v4[0] ?? "";
    const through = (servername: string) => client("guest").tls(far, 443, { servername });
    expect(await through("health.allowed.test")).not.toMatchObject({ outcome: "connected" });
    expect(await through("www.allowed.test")).toMatchObject({ outcome: "connected" });
    for (const stream of proxiedStreams) expect((await stream.state()).state).toBe("open");
    for (const stream of controls) {
      expect(await stream.state()).toMatchObject({ state: "open" });
      expect((await stream.state()).silentMs).toBeLessThan(1000);
    }
  });

  test("once the agent is back, flows through the proxy end too, and everybody is told why", async () => {
    agent = gateway.start();
    const startedS = nowS();
    const ends = await Promise.all(proxiedStreams.map(endOf));
    console.info(
      `flows through the proxy ended ${Math.max(...ends.map((endedS) => endedS - startedS)).toFixed(1)} s after the agent's start`,
    );
    let answer = await lab.client("agent1").resolve("a.allowed.test");
    await eventually("the gate answers", async () => {
      answer = await lab.client("agent1").resolve("a.allowed.test");
      return answer.outcome === "answer" && answer.rcode === "NXDOMAIN";
    });
    const run = join(gateway.folder, "run");
    const opensAt = `it opens at `;
    const dns = await awaitRecords(run, ({ plane, reason }) => plane === "dns" && reason === "outside-window");
    expect(dns[0]).toMatchObject({ name: "a.allowed.test", host: "direct", action: "nxdomain" });
    expect(dns[0]?.nearMiss).toContain(opensAt);
    await lab.client("agent2").resolve("b.allowed.test");
    const expired = await awaitRecords(run, ({ reason }) => reason === "expired");
    expect(expired[0]).toMatchObject({ name: "b.allowed.test", plane: "dns" });
    // A new gate has a new ulogd first.
    await eventually("a packet is told of", async () => {
      await lab.client("agent1").connect("203.0.113.13", 80);
      return (await readRecords(run)).some(({ plane, reason }) => plane === "ip" && reason === "outside-window");
    });
    const ip = await awaitRecords(run, ({ plane, reason }) => plane === "ip" && reason === "outside-window");
    expect(ip[0]).toMatchObject({ destination: "203.0.113.13", action: "rst" });
    for (const stream of controls) expect(await stream.state()).toMatchObject({ state: "open" });
    const explained = await gateway.clawgress([
      "explain",
      "direct",
      "a.allowed.test:443",
      "--config",
      gateway.configFile,
    ]);
    expect(explained.stdout).toMatch(/^DENY .*\n.*outside-window/);
    expect(explained.stdout).toMatch(/opens at: /);
  });
});

describe("hours that begin", () => {
  let laterS: number;
  const OPEN_S = 6;
  const LATER_S = 12;

  test("open names and the proxy on time, and end flows through the proxy within a second of their end", async () => {
    const policyFrom = (startS: number): object => ({
      version: 1,
      allow: { domains: ["www.allowed.test"], ports },
      hosts: {
        direct: {
          sources: direct,
          allow: { domains: ["a.allowed.test"], ports },
          time_window: between(startS, startS + OPEN_S),
        },
        later: {
          sources: control,
          allow: { ips: networks, ports },
          time_window: between(startS + LATER_S, startS + 3600),
        },
        proxied: {
          sources: proxied,
          allow: { domains: ["*.allowed.test"], ports: [80, 443] },
          proxy: { mode: "sni-allowlist" },
          domain_time_windows: { "health.allowed.test": between(startS, startS + OPEN_S) },
        },
      },
    });
    const openS = await inForceBefore(policyFrom);
    const closeS = openS + OPEN_S;
    laterS = openS + LATER_S;
    const guest = lab.client("guest");
    const far = lab.names["denied.test"].v4[0] ?? "";
    expect(await lab.client("agent1").resolve("a.allowed.test")).toMatchObject({ rcode: "NXDOMAIN" });
    expect(await guest.tls(far, 443, { servername: "api.allowed.test" })).toMatchObject({ outcome: "connected" });
    expect(await guest.tls(far, 443, { servername: "health.allowed.test" })).not.toMatchObject({
      outcome: "connected",
    });

    const opened = await Promise.all([
      firstSuccess("a name opens", async () => {
        const { outcome } = await lab.client("agent1").connect("a.allowed.test", 443);
        return outcome === "connected";
      }),
      firstSuccess("the proxy opens", async () => {
        const { outcome } = await guest.tls(far, 443, { servername: "health.allowed.test" });
        return outcome === "connected";
      }),
    ]);
    for (const openedS of opened) {
      expect(openedS).toBeGreaterThan(openS - 0.5);
      expect(openedS - openS).toBeLessThan(TOLERANCE_S);
    }
    const stream = await openStream(guest, "health.allowed.test", 443, 4);
    const kept = await openStream(guest, "api.allowed.test", 443, 4);
    const directStream = await openStream(lab.client("agent1"), "a.allowed.test", 443, 6);
    for (const endedS of [await endOf(stream), await endOf(directStream)]) {
      expect(Math.abs(endedS - closeS)).toBeLessThan(TOLERANCE_S);
    }
    expect(await kept.state()).toMatchObject({ state: "open" });
  });

  test("open networks on time with agent and gate dead", async () => {
    if (agent === null) throw new Error("the agent does not run");
    await agent.kill("SIGKILL");
    process.kill(await pidOf("gate"), "SIGKILL");
    const client = lab.client("agent2");
    expect(await client.connect("203.0.113.13", 80)).toMatchObject({ outcome: "refused" });
    const opened = await Promise.all(
      ["203.0.113.13", "2001:db8:1::d"].map((address) =>
        firstSuccess("a network opens", async () => (await client.connect(address, 80)).outcome === "connected"),
      ),
    );
    for (const openedS of opened) {
      expect(openedS).toBeGreaterThan(laterS - 0.5);
      expect(openedS - laterS).toBeLessThan(TOLERANCE_S);
    }
  });
});
