import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import { raiseDatapath } from "../support/datapath.ts";
import { openGateway } from "../support/open-gateway.ts";
import { addDistance } from "./delay-line.ts";
import { type Context, type Measure, type Row, withLab } from "./row.ts";
import { median } from "./statistics.ts";

/** Answers datagrams too. */
const SINK = "203.0.113.10";
const UDP_ECHO = 7001;
const MAX_DELAY_MS = 2_000;

interface Upload {
  readonly kbps: number;
  /** Percent of the segments. */
  readonly again: number;
  readonly delayMs: number;
}

/** What a limited host gets through, what it sends in vain, and how long its other packets take: ours beside a class of HTB. */
export const measureLimits: Measure = (context) => measureAt(0, context);

/** The same with far ends 40 and 100 ms away, and senders that go by losses: those suffer most from what is dropped. */
export const measureLimitsFar: Measure = async (context) => [
  ...(await measureAt(40, context)),
  ...(await measureAt(100, context)),
];

const measureAt = (distanceMs: number, { quick, say }: Context): Promise<readonly Row[]> =>
  withLab(async (lab) => {
    const isFar = distanceMs > 0;
    const rounds = quick || isFar ? 1 : 3;
    // A sender that goes by losses needs seconds of them to settle.
    const measured = isFar ? { warmUpMs: 3_000, forMs: 10_000 } : { warmUpMs: 1_300, forMs: 3_000 };
    const timing = quick ? { warmUpMs: 300, forMs: 500 } : measured;
    const byLosses = await findByLosses(lab);
    if (isFar) {
      await addDistance(lab, distanceMs);
      await lab.execChecked("agent1", ["sysctl", "-qw", `net.ipv4.tcp_congestion_control=${byLosses}`]);
    }
    const ends = isFar
      ? `${byLosses}, ends ${distanceMs} ms apart`
      : "the kernel's own congestion control, no distance between the two ends";
    const cases = [2_000, 50_000].flatMap((kbps) => [1, 4].map((flows) => ({ kbps, flows })));
    const ours = new Map<string, Upload[]>(cases.map((row) => [nameOf(row), []]));
    const htb = new Map<string, Upload[]>(cases.map((row) => [nameOf(row), []]));
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const row of cases) {
        for (const [results, raise] of [
          [ours, raiseOurs],
          [htb, raiseClass],
        ] as const) {
          await clear(lab);
          await raise(lab, row.kbps);
          results.get(nameOf(row))?.push(await upload(lab, { ...timing, flows: row.flows }));
        }
      }
    }
    const how = `${rounds} runs of ${timing.forMs / 1000} s each in turns after ${timing.warmUpMs / 1000} s, median; IPv4, ${ends}; HTB on the outer interface with a queue of 200 ms, the most that it delays; delay: of a datagram to the same far end and back, meanwhile`;
    return cases.flatMap((row): readonly Row[] => {
      const of = (results: Map<string, Upload[]>, field: keyof Upload): number =>
        median((results.get(nameOf(row)) ?? []).map((result) => result[field]));
      const far = isFar ? `${distanceMs} ms away, ` : "";
      const line = (what: string, unit: Row["unit"], field: keyof Upload, goal: string | null): Row => ({
        ...{ what: `${far}${nameOf(row)}${what}`, unit, ours: of(ours, field), goal, how },
        other: { what: "HTB", value: of(htb, field) },
      });
      const [least, most] = [Math.round(row.kbps * 0.85), Math.round(row.kbps * 1.15)];
      return [
        line("", "kbit/s", "kbps", `${least}–${most}`),
        line(", sent again", "%", "again", null),
        line(", delay meanwhile", "ms", "delayMs", null),
      ];
    });
  });

/** Returns what most senders use, where a namespace may; else the plainest of those that go by losses, which suffers most. */
async function findByLosses(lab: Lab): Promise<"cubic" | "reno"> {
  const allowed = await lab.execChecked("agent1", ["sysctl", "-n", "net.ipv4.tcp_allowed_congestion_control"]);
  return allowed.split(/\s+/).includes("cubic") ? "cubic" : "reno";
}

function nameOf({ kbps, flows }: { readonly kbps: number; readonly flows: number }): string {
  return `limit of ${kbps.toLocaleString("en")} kbit/s, ${flows} ${flows === 1 ? "flow" : "flows"}`;
}

async function clear(lab: Lab): Promise<void> {
  await lab.exec("gateway", ["tc", "qdisc", "del", "dev", "wan0", "root"]);
  await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
}

async function raiseOurs(lab: Lab, egress_kbps: number): Promise<void> {
  const datapath = await raiseDatapath(lab);
  const host = { sources: [lab.addresses.agent1.v4], limits: { egress_kbps } };
  const allow = { ips: [SINK], ports: [7002, `${UDP_ECHO}/udp`] };
  await datapath.load({ version: 1, allow, hosts: { host } });
}

/** One class for the host, chosen by a priority that a rule writes, so that masking does not hide whose packet it is. */
async function raiseClass(lab: Lab, kbps: number): Promise<void> {
  await openGateway(lab);
  const queueBytes = Math.max(20_000, kbps * 25);
  for (const command of [
    "qdisc add dev wan0 root handle 1: htb default ffff",
    "class add dev wan0 parent 1: classid 1:ffff htb rate 10gbit",
    `class add dev wan0 parent 1: classid 1:10 htb rate ${kbps}kbit`,
    `qdisc add dev wan0 parent 1:10 bfifo limit ${queueBytes}`,
  ]) {
    await lab.execChecked("gateway", ["tc", ...command.split(" ")]);
  }
  const rule = `ip saddr ${lab.addresses.agent1.v4} meta priority set 1:10`;
  const chain = `chain shape {\ntype filter hook forward priority filter; policy accept;\n${rule}\n}`;
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: `table inet shape {\n${chain}\n}\n` });
}

/** @throws Error when there was no upload: then nothing was measured */
async function upload(lab: Lab, options: { flows: number; warmUpMs: number; forMs: number }): Promise<Upload> {
  const client = lab.client("agent1");
  const endsMs = monotonicMs() + options.warmUpMs + options.forMs;
  const running = client.upload(SINK, options);
  await sleepMs(options.warmUpMs);
  const delays: number[] = [];
  while (monotonicMs() < endsMs) {
    const { outcome, ms } = await client.udp(SINK, UDP_ECHO, { timeoutMs: MAX_DELAY_MS });
    delays.push(outcome === "answered" ? ms : MAX_DELAY_MS);
    await sleepMs(40);
  }
  const result = await running;
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  return { kbps: result.kbps, again: 100 * result.retransmitted, delayMs: median(delays) };
}
