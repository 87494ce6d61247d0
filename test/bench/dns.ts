import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Lab } from "../lab/lab.ts";
import { enforceOnce, openBenchGateway } from "./gateway.ts";
import { ALONE_PORT, startNamedAlone } from "./named-alone.ts";
import { haveProgram } from "./programs.ts";
import { type Context, type Measure, type Row, withLab } from "./row.ts";
import { median, percentile } from "./statistics.ts";

const sides = { ours: 53, alone: ALONE_PORT } as const;
type Side = keyof typeof sides;
const sideNames: readonly Side[] = ["ours", "alone"];

/** A client's questions through gate, named and pins, beside the same named with RPZ asked directly. */
export const measureDns: Measure = (context) =>
  withLab(async (lab) => {
    const gateway = await openBenchGateway(lab);
    await enforceOnce(gateway);
    await startNamedAlone(lab, gateway);
    const latency = await latencyRows(lab, context);
    return (await haveProgram("dnsperf", context.say)) ? [...latency, ...(await rateRows(lab, context))] : latency;
  });

const about = `the alternative is a second named with the same zones and options on the gateway's port ${ALONE_PORT}, asked by the same client, without redirection`;

async function latencyRows(lab: Lab, { quick, say }: Context): Promise<readonly Row[]> {
  const rounds = quick ? 20 : 400;
  say(`latency, ${rounds} questions of each kind`);
  const names = {
    hit: () => "www.allowed.test",
    miss: (side: Side, turn: number) => `l${turn}-${side}.wild.test`,
    denied: (side: Side, turn: number) => `l${turn}-${side}.denied.test`,
  } as const;
  const rows: Row[] = [];
  for (const kind of ["hit", "miss", "denied"] as const) {
    const ms: { readonly [side in Side]: number[] } = { ours: [], alone: [] };
    for (let turn = 0; turn < rounds; turn += 1) {
      for (const side of sideNames) {
        const answer = await lab.client("agent1").resolve(names[kind](side, turn), { port: sides[side] });
        const isRight = answer.outcome === "answer" && answer.rcode === (kind === "denied" ? "NXDOMAIN" : "NOERROR");
        if (!isRight) throw new Error(`${kind}, ${side}: ${JSON.stringify(answer)}`);
        ms[side].push(answer.ms);
      }
    }
    for (const [label, share] of [
      ["p50", 0.5],
      ["p99", 0.99],
    ] as const) {
      rows.push({
        ...{ what: `DNS ${kind}, ${label}`, unit: "ms", ours: percentile(ms.ours, share) },
        other: { what: "named + RPZ alone", value: percentile(ms.alone, share) },
        goal: null,
        how: `${rounds} questions of each kind, one at a time in turns, a socket each; ${about}`,
      });
    }
  }
  return rows;
}

async function rateRows(lab: Lab, { quick, say }: Context): Promise<readonly Row[]> {
  const [rounds, seconds] = quick ? [1, 1] : [3, 2];
  const rows: Row[] = [];
  for (const kind of ["hit", "miss"] as const) {
    const rates: { readonly [side in Side]: number[] } = { ours: [], alone: [] };
    for (let round = 0; round < rounds; round += 1) {
      say(`throughput of ${kind === "hit" ? "hits" : "misses"}, round ${round + 1} of ${rounds}`);
      for (const side of sideNames) {
        const file = join(lab.folder, "questions.txt");
        await writeFile(file, questions(kind, `${round}-${side}`, seconds));
        rates[side].push(await answersPerS(lab, sides[side], file, seconds));
      }
    }
    rows.push({
      ...{ what: `DNS ${kind === "hit" ? "hits" : "misses"}`, unit: "/s", ours: median(rates.ours), goal: null },
      other: { what: "named + RPZ alone", value: median(rates.alone) },
      how: `dnsperf, one client, 50 questions at a time, ${rounds} runs of ${seconds} s in turns, median of the answers without error; ${about}`,
    });
  }
  return rows;
}

/** More names than anything answers in the time; each is asked once in the whole measurement. */
function questions(kind: "hit" | "miss", run: string, seconds: number): string {
  if (kind === "hit") return "www.allowed.test A\n";
  return Array.from({ length: 20_000 * seconds }, (_, index) => `m${index}-${run}.wild.test A\n`).join("");
}

async function answersPerS(lab: Lab, port: number, file: string, seconds: number): Promise<number> {
  const server = ["-s", lab.addresses.lan.v4, "-p", String(port)];
  const load = ["-d", file, "-l", String(seconds), "-c", "1", "-T", "1", "-q", "50", "-t", "2"];
  const text = await lab.execChecked("agent1", ["dnsperf", ...server, ...load], { timeoutMs: 60_000 });
  const good = Number(/NOERROR (\d+)/.exec(text)?.[1] ?? 0);
  const took = Number(/Run time \(s\):\s+([\d.]+)/.exec(text)?.[1] ?? Number.NaN);
  if (!(good > 0 && took > 0)) throw new Error(`dnsperf got no answers: ${text.slice(-600)}`);
  return good / took;
}
