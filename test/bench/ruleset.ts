import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { appliedLive } from "../../agent/compile/applied-live.ts";
import { compile } from "../../agent/compile/compile.ts";
import { liveDelta } from "../../agent/compile/live-delta.ts";
import { renderBase } from "../../agent/compile/nft-base.ts";
import { monotonicMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import type { Lab } from "../lab/lab.ts";
import { artifactText, baseUsers, policyOf, settingsWith } from "../support/compile-samples.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { median } from "./statistics.ts";

const PORTS = [53, 80, 443] as const;

/** Loading hosts with three ports each into the kernel: our maps beside a rule a port and a chain a host. */
export const measureRuleset: Measure = ({ quick, say }) =>
  withLab(async (lab) => {
    const rounds = quick ? 1 : 3;
    const [few, twice, many] = quick ? [50, 100, 200] : [1_000, 2_000, 10_000];
    const shapes = [
      { name: "ours-few", text: oursFor(few) },
      { name: "linear", text: linearFor(few) },
      { name: "linear-twice", text: linearFor(twice) },
      { name: "chains", text: verdictMapFor(few) },
      { name: "ours-many", text: oursFor(many) },
      { name: "ours-limited", text: oursFor(many, true) },
    ];
    const seconds = new Map<string, number[]>(shapes.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const { name, text } of shapes) seconds.get(name)?.push(await loadAnew(lab, `${name}-${round}`, text));
    }
    const of = (name: string): number => median(seconds.get(name) ?? []);
    const how = `${rounds} loads each in turns, median of nft -f into an empty namespace; ours with grants, after the base table; linear with ${twice.toLocaleString("en")} hosts takes ${(of("linear-twice") / of("linear")).toFixed(1)}× as long as with ${few.toLocaleString("en")}, so it was not loaded with more`;
    const atFew = `${few.toLocaleString("en")} hosts × 3 ports`;
    const row = (what: string, ours: number, other: Row["other"], goal: string | null): Row => ({
      ...{ what: `load ${what}`, unit: "s", ours, other, goal, how },
    });
    return [
      row(atFew, of("ours-few"), { what: "linear: a jump and two rules a host", value: of("linear") }, null),
      row(atFew, of("ours-few"), { what: "verdict map, a chain a host", value: of("chains") }, null),
      row(
        `${many.toLocaleString("en")} hosts × 3 ports`,
        of("ours-many"),
        { what: `linear with only ${twice.toLocaleString("en")} hosts`, value: of("linear-twice") },
        "≤ 0.5 s",
      ),
      row(
        `${many.toLocaleString("en")} hosts × 3 ports, a limit each`,
        of("ours-limited"),
        { what: "the same without limits", value: of("ours-many") },
        null,
      ),
    ];
  });

/** Seconds that nft takes for a file in a new namespace, which is removed again. */
async function loadAnew(lab: Lab, name: string, text: Text): Promise<number> {
  const namespace = `${lab.prefix}${name}`;
  const file = join(lab.folder, `${name}.nft`);
  const inside = ["nsenter", `--net=/run/netns/${namespace}`, "--"] as const;
  await writeFile(file, text.policy);
  await runChecked(["ip", "netns", "add", namespace], { timeoutMs: 5_000 });
  try {
    if (text.base !== "") await runChecked([...inside, "nft", "-f", "-"], { stdin: text.base, timeoutMs: 10_000 });
    const startedMs = monotonicMs();
    await runChecked([...inside, "nft", "-f", file], { timeoutMs: 60_000 });
    return (monotonicMs() - startedMs) / 1000;
  } finally {
    await runChecked(["ip", "netns", "del", namespace], { timeoutMs: 20_000 });
  }
}

interface Text {
  /** Loaded before the clock runs: it is there from boot on. */
  readonly base: string;
  readonly policy: string;
}

const sourceOf = (index: number): string =>
  `10.${100 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${index % 250}`;
const targetOf = (index: number): string => `198.18.${index % 256}.${Math.floor(index / 256)}`;
const indices = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

function oursFor(count: number, isLimited = false): Text {
  const hosts = indices(count).map((index) => [
    `host-${index}`,
    {
      sources: [sourceOf(index)],
      allow: { ips: [targetOf(index)], ports: PORTS },
      ...(isLimited ? { limits: { egress_kbps: 1_000 + index } } : {}),
    },
  ]);
  const allow = { domains: ["none.example.com"] };
  const policy = policyOf({ version: 1, allow, hosts: Object.fromEntries(hosts) });
  const settings = settingsWith();
  const release = compile({ policy, settings });
  return {
    base: renderBase(settings, baseUsers),
    policy: artifactText(release, "policy.nft") + liveDelta([], appliedLive(policy)).now,
  };
}

/** What is rendered host by host: a jump for each source, and a rule a protocol with the host's list of ports. */
function linearFor(count: number): Text {
  const list = `{ ${PORTS.join(", ")} }`;
  const chains = indices(count).map((index) =>
    chainOf(index, (protocol) => [`ip daddr { ${targetOf(index)} } ${protocol} dport ${list} accept`]),
  );
  const jumps = indices(count).map((index) => `ip saddr { ${sourceOf(index)} } jump host_${index}`);
  return { base: "", policy: tableOf(chains, jumps) };
}

/** The same with one lookup instead of the jumps, and a rule a port: lists of ports would make it slower to load. */
function verdictMapFor(count: number): Text {
  const chains = indices(count).map((index) =>
    chainOf(index, (protocol) => PORTS.map((port) => `ip daddr ${targetOf(index)} ${protocol} dport ${port} accept`)),
  );
  const elements = indices(count).map((index) => `${sourceOf(index)} : jump host_${index}`);
  return { base: "", policy: tableOf(chains, [`ip saddr vmap { ${elements.join(", ")} }`]) };
}

function chainOf(index: number, rules: (protocol: "tcp" | "udp") => readonly string[]): string {
  return `chain host_${index} {\n${[...rules("tcp"), ...rules("udp")].join("\n")}\n}`;
}

function tableOf(chains: readonly string[], forward: readonly string[]): string {
  const hook = "type filter hook forward priority filter; policy drop;\nct state established,related accept";
  return `table inet other {\n${chains.join("\n")}\nchain forward {\n${hook}\n${forward.join("\n")}\n}\n}\n`;
}
