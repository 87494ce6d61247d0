import { sleepMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import type { LogLine, TestGateway } from "../support/gateway.ts";
import { openBenchGateway } from "./gateway.ts";
import { gatePid, residentMb } from "./processes.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { median, percentile } from "./statistics.ts";

/** Between two questions of the client that watches for pauses. */
const ASK_EVERY_MS = 5;

const MAX_WAITS = 4;

interface Sample {
  /** From the poll that saw the commit to its rules being in force. */
  readonly seenEnforcedMs: number;
  /** From the commit being there. */
  readonly enforcedMs: number;
  readonly confirmedMs: number;
  /** Milliseconds of each step by its name. */
  readonly steps: ReadonlyMap<string, number>;
}

/** How the one entry changes: in its place, or as a new line that moves half of the others. */
const kinds = ["replaced", "inserted"] as const;
type Kind = (typeof kinds)[number];

/** One entry of a long list changes, at three sizes: where the time goes until it is enforced, and what DNS notices. */
export const measureChange: Measure = async ({ quick, names, say }) => {
  const all = quick ? [1_000] : [1_000, 10_000, 100_000];
  const sizes = names === null ? all : [names];
  const rounds = quick ? 1 : 5;
  const rows: Row[] = [];
  process.env["CLAWGRESS_LOG"] = "debug";
  for (const size of sizes) rows.push(...(await withLab((lab) => measureSize(lab, size, rounds, say))));
  return rows;
};

async function measureSize(
  lab: Lab,
  size: number,
  rounds: number,
  say: (text: string) => void,
): Promise<readonly Row[]> {
  const about = `${size.toLocaleString("en")} names`;
  say(about);
  const gateway = await openBenchGateway(lab);
  const agent = gateway.start();
  let names = Array.from({ length: size - 5 }, (_, index) => `host-${index}.service-${index % 100}.example.com`);
  await settle(gateway, names);
  const watch = watchDns(lab);
  const samples: { readonly [kind in Kind]: Sample[] } = { replaced: [], inserted: [] };
  // The first change finds cold code; it is made, and not counted.
  for (let round = 0; round <= rounds; round += 1) {
    for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) {
      const name = `changed-${round}-${kind}.example.com`;
      const middle = names.length >> 1;
      names = names.toSpliced(middle, kind === "replaced" ? 1 : 0, name);
      const commit = await settle(gateway, names);
      const sample = sampleOf(await gateway.log(), commit);
      if (round > 0) samples[kind].push(sample);
    }
  }
  const waits = await watch.stop();
  const memory = [
    { what: "agent", mb: await residentMb(agent.pid) },
    { what: "gate", mb: await residentMb(await gatePid(gateway)) },
  ];
  const goal = size === 100_000 ? "≤ 300 ms" : null;
  const dnsHow = `a client asks for one allowed name every ${ASK_EVERY_MS} ms during ${2 * (rounds + 1)} applies`;
  return [
    ...kinds.flatMap((kind): readonly Row[] => {
      const how = `${rounds} commits, median, from the log's times; ${describeSteps(samples[kind])}`;
      const of = (key: Exclude<keyof Sample, "steps">): number => median(samples[kind].map((sample) => sample[key]));
      const row = { unit: "ms" as const, other: null, how };
      return [
        { ...row, what: `seen → enforced, one entry ${kind} in ${about}`, ours: of("seenEnforcedMs"), goal: null },
        { ...row, what: `fetched → enforced, one entry ${kind} in ${about}`, ours: of("enforcedMs"), goal },
        { ...row, what: `fetched → confirmed, one entry ${kind} in ${about}`, ours: of("confirmedMs"), goal: null },
      ];
    }),
    ...[0.5, 0.99, 1].map(
      (share): Row => ({
        ...{ what: `DNS hit while ${about} change, ${share === 1 ? "longest" : `p${share * 100}`}`, unit: "ms" },
        ...{ ours: percentile(waits, share), other: null, goal: null, how: dnsHow },
      }),
    ),
    ...memory.map(
      ({ what, mb }): Row => ({
        ...{ what: `resident memory with ${about}, ${what}`, unit: "MB", ours: mb, other: null, goal: null },
        how: "VmRSS after the last apply",
      }),
    ),
  ];
}

async function settle(gateway: TestGateway, names: readonly string[]): Promise<string> {
  const domains = ["health.allowed.test", "www.allowed.test", "*.wild.test", "*.fresh.test", ...names];
  const commit = await gateway.commit({ version: 1, allow: { domains } });
  // On a machine with other work the first release of a long list takes longer than a test waits.
  for (let attempt = 1; ; attempt += 1) {
    try {
      await gateway.awaitStatus(commit, ["success"]);
      return commit;
    } catch (error) {
      if (attempt === MAX_WAITS) throw error;
    }
  }
}

function describeSteps(samples: readonly Sample[]): string {
  const names = new Set(samples.flatMap(({ steps }) => [...steps.keys()]));
  const parts = [...names].map(
    (name) => `${name} ${Math.round(median(samples.map(({ steps }) => steps.get(name) ?? 0)))}`,
  );
  return `ms of the steps, those of an apply within applyStaged: ${parts.join(", ")}`;
}

/** @throws Error when the log lacks what it must say of a commit */
function sampleOf(log: readonly LogLine[], commit: string): Sample {
  const start = log.findIndex((line) => line.event === "commit-seen" && line["commit"] === commit);
  const lines = log.slice(start);
  const timeOf = (isIt: (line: LogLine) => boolean): number => {
    const timeMs = Date.parse(String(lines.find(isIt)?.["time"]));
    if (start < 0 || Number.isNaN(timeMs)) throw new Error(`the log does not tell how ${commit} was enforced`);
    return timeMs;
  };
  const fetchedMs = timeOf((line) => line.event === "step-took" && line["step"] === "openHead");
  const steps = new Map<string, number>();
  for (const { event, step, tookMs } of lines) {
    if (event === "step-took" && !steps.has(String(step))) steps.set(String(step), Number(tookMs));
    if (event === "cycle-confirmed") break;
  }
  const enforcedMs = timeOf(({ event }) => event === "apply-swapped");
  return {
    seenEnforcedMs: enforcedMs - timeOf(({ event }) => event === "commit-seen"),
    enforcedMs: enforcedMs - fetchedMs,
    confirmedMs: timeOf(({ event }) => event === "apply-confirmed") - fetchedMs,
    steps,
  };
}

interface Watch {
  /** Returns how long each answer took. */
  stop(): Promise<readonly number[]>;
}

function watchDns(lab: Lab): Watch {
  const waits: number[] = [];
  let isOn = true;
  const loop = (async () => {
    while (isOn) {
      const answer = await lab.client("agent1").resolve("www.allowed.test", { timeoutMs: 10_000 });
      if (answer.outcome !== "answer" || answer.rcode !== "NOERROR") throw new Error(JSON.stringify(answer));
      waits.push(answer.ms);
      await sleepMs(ASK_EVERY_MS);
    }
  })();
  // Told by stop, which may never be called.
  loop.catch(() => {});
  return {
    stop: async () => {
      isOn = false;
      await loop;
      return waits;
    },
  };
}
