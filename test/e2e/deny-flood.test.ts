import { stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DenyRecord } from "../../agent/gate/deny-record.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { readRecords } from "../support/deny-records.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** A client that is denied as fast as it can send: nothing fills up, nobody else notices, and every denial is counted. */

const MAX_BYTES = 65_536;
const [FLOOD_S, ROUNDS] = [3, 2];
const FLOODED = "203.0.113.20";

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
let run: string;

beforeAll(async () => {
  lab = await startLab();
  const policy = { version: 1, allow: { domains: ["a.allowed.test", "*.wild.test"], ports: [80, 443] } };
  gateway = await setUpGateway(lab, { policy, config: { records: { maxBytes: MAX_BYTES } } });
  run = join(gateway.folder, "run");
  agent = gateway.start();
  const commit = await gateway.head();
  await gateway.awaitStatus(commit, ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

interface Stats {
  readonly denied: {
    readonly ip: { readonly [reason: string]: number };
    readonly dns: { readonly [reason: string]: number };
  };
  readonly unattributed: number;
  readonly packets: { readonly [counter: string]: number };
  readonly records: {
    readonly lines: number;
    readonly suppressed: number;
    readonly clients: readonly { readonly what: string }[];
  };
}

async function readStats(): Promise<Stats> {
  const result = await gateway.clawgress(["stats", "--json", "--config", gateway.configFile]);
  expect(result.exitCode, result.stdout).toBe(0);
  return JSON.parse(result.stdout) as Stats;
}

/** Sends datagrams to a denied address as fast as one process can, and returns how many left. */
async function flood(seconds: number, sources: readonly string[]): Promise<number> {
  const program = `use Socket; my ($n, $done, @s) = (0, 0); $SIG{ALRM} = sub { $done = 1 };
    for my $a (@ARGV) { socket(my $s, PF_INET, SOCK_DGRAM, 17) or die; bind($s, sockaddr_in(0, inet_aton($a))) or die "$a: $!"; push @s, $s }
    my $to = sockaddr_in(9999, inet_aton("${FLOODED}")); alarm ${seconds};
    while (!$done) { for (1..64) { $n++ if defined send($s[$n % @s], "x", 0, $to) } } print $n;`;
  const result = await lab.exec("agent1", ["perl", "-e", program, ...sources], { timeoutMs: 30_000 });
  expect(result.exitCode, result.stderr).toBe(0);
  return Number(result.stdout);
}

async function totalBytes(): Promise<number> {
  const sizes = ["deny.jsonl", "deny.jsonl.1"].map((name) =>
    stat(join(run, "gate", name)).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((all, size) => all + size, 0);
}

/** Resolves with the last record of a client and reason once it stands for that many denials. */
async function awaitCount(client: string, reason: string, count: number): Promise<DenyRecord> {
  for (let attempt = 0; ; attempt++) {
    const last = (await readRecords(run)).filter((one) => one.client === client && one.reason === reason).at(-1);
    if (last !== undefined && last.count >= count) return last;
    if (attempt > 150) throw new Error(`the records stop at ${last?.count} of ${count}`);
    await sleepMs(50);
  }
}

/** Uses what is allowed until it is told to stop: a fresh name, a connection, an answer. */
async function useAllowed(
  isDone: () => boolean,
): Promise<{ readonly failures: readonly string[]; readonly resolveMs: number[]; readonly connectMs: number[] }> {
  const client = lab.client("agent2");
  const [failures, resolveMs, connectMs]: [string[], number[], number[]] = [[], [], []];
  for (let round = 0; !isDone(); round++) {
    const result = await client.connect(`n${round}-${performance.now().toFixed(0)}.wild.test`, 443);
    if (result.outcome !== "connected") failures.push(JSON.stringify(result));
    else {
      resolveMs.push(result.resolveMs ?? 0);
      connectMs.push(result.ms);
    }
    await sleepMs(5);
  }
  return { failures, resolveMs, connectMs };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** What the same flood meets where nothing is logged or answered, before all rules of ours. */
const plainDrop = `table inet plain {
  chain pre { type filter hook prerouting priority raw; ip daddr ${FLOODED} udp dport 9999 drop; }
}
`;

interface Beside {
  readonly sent: number;
  readonly connectMs: readonly number[];
  readonly failures: readonly string[];
}

/** Floods for some seconds while another client uses what is allowed. */
async function floodBeside(seconds: number, source: string): Promise<Beside> {
  let isDone = false;
  const during = useAllowed(() => isDone);
  const sent = await flood(seconds, [source]);
  isDone = true;
  const { connectMs, failures } = await during;
  return { sent, connectMs, failures };
}

const nft = (stdin: string): Promise<string> => lab.execChecked("gateway", ["nft", "-f", "-"], { stdin });
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

test("a flood of denied packets: files bounded, every packet counted, allowed requests half as many as beside a plain drop", async () => {
  const { v4 } = lab.addresses.agent1;
  const before = await readStats();
  const [dropped, refused]: [Beside[], Beside[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    await nft(plainDrop);
    dropped.push(await floodBeside(FLOOD_S, v4));
    await nft("delete table inet plain");
    refused.push(await floodBeside(FLOOD_S, v4));
  }
  const sent = sum(refused.map((one) => one.sent));
  const perSecond = (runs: readonly Beside[], of: (run: Beside) => number): number =>
    Math.round(sum(runs.map(of)) / (ROUNDS * FLOOD_S));
  const [most, rate] = [dropped, refused].map((runs) => perSecond(runs, (run) => run.sent)) as [number, number];
  const [allowed, kept] = [dropped, refused].map((runs) => perSecond(runs, (run) => run.connectMs.length)) as [
    number,
    number,
  ];
  const ms = (runs: readonly Beside[]): string => median(runs.flatMap((run) => run.connectMs)).toFixed(1);
  console.log(
    `dropped ${most}/s, refused ${rate}/s; allowed connections beside them ${allowed} and ${kept} a second, ` +
      `each in ${ms(dropped)} and ${ms(refused)} ms`,
  );
  expect(refused.flatMap((run) => run.failures)).toEqual([]);
  // Where the flooder does not get the processor, what it sends is no measure of the gateway.
  expect(rate).toBeGreaterThanOrEqual(Math.min(20_000, most / 3));
  expect(kept).toBeGreaterThanOrEqual(allowed / 2);

  const last = await awaitCount(v4, "ip-not-allowed", sent);
  expect(last.count).toBe(sent);
  const lines = (await readRecords(run)).filter((one) => one.client === v4 && one.plane === "ip");
  expect(lines.reduce((all, { suppressed }) => all + 1 + suppressed, 0)).toBe(sent);
  console.log(`${lines.length} lines for ${sent} denials`);
  expect(lines.length).toBeLessThan(50);
  const after = await readStats();
  expect((after.packets["denied_forward"] ?? 0) - (before.packets["denied_forward"] ?? 0)).toBe(sent);
  expect(after.denied.ip["ip-not-allowed"]).toBe(sent);
  expect(after.records.clients[0]?.what).toBe(v4);
  expect(await totalBytes()).toBeLessThanOrEqual(MAX_BYTES);
});

test("many clients at once: the files rotate within their bound, and each client is counted", async () => {
  const sources = Array.from({ length: 100 }, (_, index) => `10.80.0.${128 + index}`);
  await lab.execChecked("agent1", ["ip", "route", "add", "local", "10.80.0.128/25", "dev", "lo"]);
  const before = await readStats();
  const sent = await flood(2, sources);
  await sleepMs(3000);
  expect(await totalBytes()).toBeLessThanOrEqual(MAX_BYTES);
  expect((await stat(join(run, "gate", "deny.jsonl.1"))).size).toBeGreaterThan(MAX_BYTES / 4);
  for (let attempt = 0; ; attempt++) {
    const { denied, unattributed, packets } = await readStats();
    const counted = (denied.ip["ip-not-allowed"] ?? 0) - (before.denied.ip["ip-not-allowed"] ?? 0);
    expect((packets["denied_forward"] ?? 0) - (before.packets["denied_forward"] ?? 0)).toBe(sent);
    if (counted + unattributed === sent) break;
    if (attempt > 30) throw new Error(`${counted} + ${unattributed} of ${sent}`);
    await sleepMs(200);
  }
});

test("a flood of denied questions: as bounded, and every question counted", async () => {
  const program = `use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 17) or die; my $to = sockaddr_in(53, inet_aton("10.80.0.1"));
    for my $i (1..15) { for my $j (1..100) { send($s, pack("nnnnnn", $j, 256, 1, 0, 0, 0) . "\\x01" . chr(97 + $i) . "\\x06denied\\x04test\\x00" . pack("nn", 1, 1), 0, $to) }
      select(undef, undef, undef, 0.15) }`;
  await lab.execChecked("agent1", ["perl", "-e", program]);
  const { v4 } = lab.addresses.agent1;
  const last = await awaitCount(v4, "dns-not-allowed", 1500);
  expect(last).toMatchObject({ plane: "dns", count: 1500, action: "nxdomain" });
  expect((await readStats()).denied.dns["dns-not-allowed"]).toBeGreaterThanOrEqual(1500);
  expect(await totalBytes()).toBeLessThanOrEqual(MAX_BYTES);
});

test("stats tell a person", async () => {
  const { stdout, exitCode } = await gateway.clawgress(["stats", "--config", gateway.configFile]);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^denied in the last 24h \(\d{4}-.*\): \d+$/m);
  expect(stdout).toMatch(/^denied since \d{4}-/m);
  expect(stdout).toMatch(/^ +\d+ {2}ip {2}ip-not-allowed$/m);
  expect(stdout).toMatch(/^ +\d+ {2}dns {2}dns-not-allowed$/m);
  expect(stdout).toMatch(/^most denied names\n +\d+ {2}\w\.denied\.test$/m);
  expect(stdout).toMatch(/^clients with most denials\n +\d+ {2}10\.80\.0\.10$/m);
});
