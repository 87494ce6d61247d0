import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createGateControl } from "../../agent/gate/control-client.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { clientHello, ECH_EXTENSION, encryptedHello } from "../battery/client-hello.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type OwnGateway, setUpOwnGateway } from "../support/own-gateway.ts";

/** What /metrics says beside what was done, by whoever did it: to the flow, the byte, the question. */

let lab: Lab;
let gateway: OwnGateway;
let agent: LabProcess;
let imports = 0;

const DAY_MS = 86_400_000;
const SINK = "203.0.113.60";
const inDays = (days: number): string => `${new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 19)}Z`;
const names = ["a.allowed.test", "b.allowed.test", "www.allowed.test", "api.allowed.test"];

/** agent1 straight, agent2 with a limit, guest through the proxy; stray is in no entry. */
function policyOf(domains: readonly string[]): object {
  return {
    version: 1,
    allow: { domains, ips: [`${SINK}/32`], ports: [80, 443, 7000, 7002] },
    hosts: {
      straight: { sources: ["10.80.0.10"], allow: { domains, ips: [`${SINK}/32`], ports: [80, 443, 7000, 7002] } },
      limited: { sources: ["10.80.0.11"], limits: { egress_kbps: 2_000 } },
      proxied: {
        sources: ["10.81.0.10"],
        proxy: { mode: "sni-allowlist" },
        allow: { domains: domains.filter((name) => name !== "api.allowed.test"), ports: [80, 443] },
      },
      expiring: {
        sources: ["10.80.0.77"],
        allow: {
          domains: [0.5, 3, 6.9, 20, 300].map((days) => ({
            domain: `in-${String(days).replace(".", "-")}.test`,
            expires: inDays(days),
          })),
        },
      },
    },
  };
}

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpOwnGateway(lab, { gate: { user: "64053", maxQueriesPerS: 100_000 } });
  agent = gateway.start();
  await eventually("the API answers", async () => (await gateway.curl([`${gateway.url}/metrics`])).status === 200);
  await eventually("init's policy is in force", async () => (await gateway.clawgress(["status"])).exitCode === 0);
  await importPolicy(policyOf(names));
  await lab.execChecked("agent2", ["nft", "-f", "-"], { stdin: truth });
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

/** What leaves the limited client for the sink, as its own machine counts it. */
const truth = `add table ip truth
add counter ip truth sent
add chain ip truth leaving { type filter hook output priority 0; policy accept; }
add rule ip truth leaving ip daddr ${SINK} tcp dport 7002 counter name sent
`;

async function importPolicy(policy: object): Promise<void> {
  const file = join(gateway.folder, "next-policy.json");
  await writeFile(file, JSON.stringify(policy));
  const { exitCode, stderr } = await gateway.clawgress(["policy", "import", "file", file, "--reason", "a test"]);
  expect(exitCode, stderr).toBe(0);
  imports += 1;
}

type Samples = ReadonlyMap<string, number>;

async function scrape(): Promise<Samples> {
  const { text, status } = await gateway.curl([`${gateway.url}/metrics`]);
  expect(status).toBe(200);
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice("clawgress_".length, at), Number(line.slice(at + 1))] as const;
    }),
  );
}

/** The samples of one metric, by the rest of their line. */
function pick(samples: Samples, metric: string): { readonly [labels: string]: number } {
  const own = [...samples].filter(([name]) => name === metric || name.startsWith(`${metric}{`));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(metric.length), value]));
}

/** Waits for what takes its time, then says what is not as it should be. */
async function expectMetric(metric: string, wanted: { readonly [labels: string]: number }): Promise<void> {
  const read = async () => pick(await scrape(), metric);
  await eventually(metric, async () => {
    const got = await read();
    return Object.entries({ ...got, ...wanted }).every(([labels]) => got[labels] === wanted[labels]);
  }).catch(() => {
    // The comparison below says it.
  });
  expect(await read(), metric).toEqual(wanted);
}

async function open(node: "agent1" | "guest" | "stray", host: string, port: number): Promise<LabStream> {
  const result = await lab.client(node).stream(host, port, { timeoutMs: 10_000 });
  if (result.outcome !== "connected") throw new Error(`${node} to ${host}:${port}: ${JSON.stringify(result)}`);
  return result.stream;
}

const total = (samples: Samples, metric: string): number =>
  Object.values(pick(samples, metric)).reduce((sum, value) => sum + value, 0);

test("entries that will have expired, and have not", async () => {
  await expectMetric("exceptions_expiring", { '{within="1d"}': 1, '{within="7d"}': 3, '{within="30d"}': 4 });
});

test("each step of an apply once for each apply, and their times within the time that all took", async () => {
  const before = await scrape();
  const startedMs = performance.now();
  for (const more of ["rotate.allowed.test", "many.allowed.test", "health.allowed.test"])
    await importPolicy(policyOf([...names, more]));
  await importPolicy(policyOf(names));
  const tookS = (performance.now() - startedMs) / 1000;
  const after = await scrape();
  const steps = Object.keys(pick(after, "policy_apply_step_seconds_count"));
  expect(steps).toContain('{step="7-confirm"}');
  let sumS = 0;
  for (const labels of steps) {
    const grown = (metric: string): number =>
      (after.get(`${metric}${labels}`) ?? 0) - (before.get(`${metric}${labels}`) ?? 0);
    expect(grown("policy_apply_step_seconds_count"), labels).toBe(4);
    sumS += grown("policy_apply_step_seconds_sum");
  }
  expect(sumS).toBeGreaterThan(0);
  expect(sumS).toBeLessThan(2 * tookS);
  expect(after.get('policy_apply_step_seconds_count{step="7-pointer"}')).toBe(imports + 1);
});

test("questions: each has a latency, no longer than whoever asked has waited", async () => {
  const before = await scrape();
  let waitedMs = 0;
  const kinds = ["a.allowed.test", "b.allowed.test", "n1.denied.test", "n2.denied.test"];
  for (let at = 0; at < 120; at++) {
    const startedMs = performance.now();
    const answer = await lab.client(at % 2 === 0 ? "agent1" : "stray").resolve(kinds[at % 4] ?? "");
    waitedMs += performance.now() - startedMs;
    expect(answer.outcome).toBe("answer");
  }
  const after = await scrape();
  const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  expect(grown("dns_latency_seconds_count")).toBe(120);
  expect(grown('dns_latency_seconds_bucket{le="+Inf"}')).toBe(120);
  expect(grown('dns_latency_seconds_bucket{le="10"}')).toBe(120);
  expect(grown("dns_latency_seconds_sum")).toBeGreaterThan(0);
  expect(grown("dns_latency_seconds_sum")).toBeLessThan(waitedMs / 1000);
  expect(total(after, "dns_queries_total") - total(before, "dns_queries_total")).toBe(120);
});

test("pauses: each question that waited is one, for as long as it did", async () => {
  const control = createGateControl(join(gateway.folder, "run", "gate", "control.sock"));
  const before = await scrape();
  await control.hold(10_000);
  const startedMs = performance.now();
  // Also what will be refused: the next policy may allow it.
  const waiting = [...names, "n1.denied.test", "n2.denied.test", "n3.denied.test"].map((name) =>
    lab.client("agent1").resolve(name, { timeoutMs: 9_000 }),
  );
  await sleepMs(1_200);
  const heldMs = performance.now() - startedMs;
  await control.resume();
  for (const [at, answer] of (await Promise.all(waiting)).entries())
    expect(answer).toMatchObject({ outcome: "answer", rcode: at < names.length ? "NOERROR" : "NXDOMAIN" });
  const overMs = performance.now() - startedMs;
  const after = await scrape();
  const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  expect(grown("dns_hold_seconds_count")).toBe(7);
  expect(grown("dns_latency_seconds_count")).toBe(7);
  expect(grown("dns_hold_seconds_sum")).toBeGreaterThan(7 * ((heldMs - 500) / 1000));
  expect(grown("dns_hold_seconds_sum")).toBeLessThan((7 * overMs) / 1000);
  expect(grown('dns_hold_seconds_bucket{le="0.5"}')).toBe(0);
});

test("pins: what the kernel's maps hold for the clients of each group", async () => {
  for (const name of names) {
    await lab.client("agent1").resolve(name);
    await lab.client("agent1").resolve(name, { type: "AAAA" });
    await lab.client("agent2").resolve(name);
  }
  const held: { [group: string]: number } = {};
  // A host without rules of its own has those of everyone.
  const groups: { readonly [client: string]: string } = { "10.80.0.10": "straight", "10.81.0.10": "proxied" };
  // What was asked over the other family is pinned to the group; only the straight client has asked so.
  for (const map of ["pin4", "pin6", "group_pin4", "group_pin6"]) {
    const text = await lab.execChecked("gateway", ["nft", "-j", "list", "map", "inet", "clawgress", map]);
    const { nftables } = JSON.parse(text) as { nftables: readonly { map?: { elem?: readonly [Pin, number][] } }[] };
    for (const [pin] of nftables.flatMap((entry) => entry.map?.elem ?? [])) {
      const [client] = pin.elem.val.concat;
      const group = typeof client === "number" ? "straight" : (groups[client] ?? "*");
      held[group] = (held[group] ?? 0) + 1;
    }
  }
  expect(held["straight"]).toBeGreaterThanOrEqual(4);
  // Counted every 10 s.
  await sleepMs(11_000);
  const told = pick(await scrape(), "pins");
  expect(held["*"]).toBeGreaterThanOrEqual(4);
  for (const group of ["straight", "*"]) expect(told[`{host="${group}"}`], group).toBe(held[group]);
  expect(total(await scrape(), "pin_evictions_total")).toBe(0);
}, 40_000);

test("flows: under way, ended by who opened them, and ended by a change, each once", async () => {
  const www = await open("agent1", "www.allowed.test", 80);
  const echo = await open("agent1", "www.allowed.test", 7000);
  const kept = await open("agent1", "a.allowed.test", 443);
  const stray = await open("stray", "www.allowed.test", 443);
  const throughTls = await open("guest", "www.allowed.test", 443);
  const throughHttp = await open("guest", "www.allowed.test", 80);
  const keptThrough = await open("guest", "a.allowed.test", 443);
  const closed = await open("agent1", "b.allowed.test", 443);
  const path = (host: string, way: string): string => `{host="${host}",path="${way}"}`;
  const proxied = path("proxied", "proxy");
  const straight = path("straight", "straight");
  const others = path("", "straight");
  await expectMetric("flows_active", { [straight]: 4, [others]: 1, [proxied]: 3 });
  await closed.close();
  await expectMetric("flows_active", { [straight]: 3, [others]: 1, [proxied]: 3 });
  const before = pick(await scrape(), "flows_revoked_total");
  expect(before).toEqual({ '{path="straight"}': 0, '{path="proxy"}': 0 });

  await importPolicy(policyOf(names.filter((name) => name !== "www.allowed.test")));
  for (const [what, stream] of Object.entries({ www, stray, throughTls, throughHttp }))
    await eventually(`the end of ${what}`, async () => {
      // A reply that is refused ends its sender; a client that only listens hears nothing any more.
      const { state, silentMs } = await stream.state();
      return state !== "open" || silentMs > 1_000;
    });
  // The echo has nothing to say: a flow that is silent is not known to be over.
  const three = { '{path="straight"}': 2, '{path="proxy"}': 2 };
  await expectMetric("flows_revoked_total", three);
  await echo.write();
  await eventually("the echo's end", async () => (await echo.state()).state !== "open");
  const all = { '{path="straight"}': 3, '{path="proxy"}': 2 };
  await expectMetric("flows_revoked_total", all);
  await expectMetric("flows_active", { [straight]: 1, [proxied]: 1 });
  // Both ends of what was reset send again for a while.
  await sleepMs(3_000);
  await expectMetric("flows_revoked_total", all);
  for (const stream of [kept, keptThrough]) expect((await stream.state()).state).toBe("open");
  await importPolicy(policyOf(names));
  expect(pick(await scrape(), "flows_revoked_total")).toEqual(all);
  for (const stream of [kept, keptThrough]) await stream.close();
  await expectMetric("flows_active", {});
}, 60_000);

test("what is over a limit: what left the client and did not arrive, to the byte, and of that host alone", async () => {
  await lab.mark();
  expect(pick(await scrape(), "shaped_bytes_total")).toEqual({});
  const limited = await lab.client("agent2").upload(SINK, { warmUpMs: 200, forMs: 2_000 });
  expect(limited.outcome).toBe("connected");
  const lost = async (): Promise<number> => {
    const text = await lab.execChecked("agent2", ["nft", "-j", "list", "counter", "ip", "truth", "sent"]);
    const { nftables } = JSON.parse(text) as { nftables: readonly { counter?: { bytes: number } }[] };
    const sent = nftables.find(({ counter }) => counter !== undefined)?.counter?.bytes ?? 0;
    return sent - (await lab.packets({ to: SINK, port: 7002 })).bytes;
  };
  const read = async (): Promise<number> => (await scrape()).get('shaped_bytes_total{host="limited"}') ?? 0;
  // What the client sends again after its end is over the limit, or arrives.
  await eventually("nothing is under way", async () => {
    const [first, told] = [await lost(), await read()];
    await sleepMs(500);
    return first === (await lost()) && told === (await read()) && told === first;
  }).catch(() => {
    // The comparison below says it.
  });
  const shaped = await read();
  expect(shaped).toBe(await lost());
  expect(shaped).toBeGreaterThan(100_000);
  expect((await lab.client("agent1").upload(SINK, { warmUpMs: 200, forMs: 500 })).outcome).toBe("connected");
  const packets = (await scrape()).get("shaped_packets_total") ?? 0;
  expect(packets).toBeGreaterThan(shaped / 65_536);
  await expectMetric("shaped_bytes_total", { '{host="limited"}': shaped });
}, 60_000);

test("hellos: with ECH or GREASE, and each in its category", async () => {
  const before = await scrape();
  const hello = (name: string | undefined, extensions: readonly { type: number; data: Buffer }[]): Buffer =>
    clientHello({ ...(name === undefined ? {} : { serverNames: [{ name }] }), extensions });
  const ech = { type: ECH_EXTENSION, data: encryptedHello(208) };
  // Its number alone, as the bytes of something else, is none.
  const decoy = { type: 0xfe0e, data: Buffer.from("fe0dfe0d0000000000fe0d0102fe0d", "hex") };
  const [address = ""] = lab.names["a.allowed.test"].v4;
  const goodbye = Buffer.from("15030100020100", "hex");
  const hellos: readonly Buffer[] = [
    ...Array.from({ length: 3 }, () => hello("a.allowed.test", [ech])),
    ...Array.from({ length: 2 }, () => hello("www.denied.test", [ech])),
    ...Array.from({ length: 4 }, () => hello("a.allowed.test", [decoy])),
    hello(undefined, [ech]),
    hello("b.allowed.test", []),
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  ];
  for (const bytes of hellos)
    await lab.client("guest").exchange(address, 443, Buffer.concat([bytes, goodbye]), { timeoutMs: 3_000 });
  const grown = async (name: string): Promise<number> => ((await scrape()).get(name) ?? 0) - (before.get(name) ?? 0);
  await eventually("all are told of", async () => (await grown("sni_ech_total")) === 6).catch(() => {});
  expect(await grown("sni_ech_total")).toBe(6);
  for (const [category, count] of [
    ["match", 8],
    ["mismatch", 2],
    ["no_extension", 1],
    ["not_tls", 1],
  ] as const)
    expect(await grown(`sni_total{category="${category}"}`), category).toBe(count);
}, 60_000);

interface Pin {
  readonly elem: { readonly val: { readonly concat: readonly [string | number, string, number] } };
}
