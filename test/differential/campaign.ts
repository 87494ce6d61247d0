import { nowMs } from "../../agent/host/clock.ts";
import { buildDecider, type Decider } from "../../agent/policy/decide.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import type { Policy } from "../../agent/policy/policy.ts";
import { type Random, seededRandom } from "../faults/random.ts";
import type { Lab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { callOf, type Flow, isThrough, planFlows } from "./flows.ts";
import { isByProxy, type Prediction, predict } from "./predict.ts";
import { randomPolicy } from "./random-policy.ts";
import { type KnownName, MACHINES_PER_POLICY, type Machine, machinesOf } from "./world.ts";

/** What one policy's flows showed. */
export interface Round {
  readonly seed: number;
  readonly pairs: number;
  /** How many of them were let pass. */
  readonly through: number;
  readonly tookMs: number;
  /** Where `explain` and the gateway do not agree, and what reached the internet side without being allowed; for people. */
  readonly disagreements: readonly string[];
  /** The policy as it was committed. */
  readonly policy: string;
}

/** A lab with a gateway that takes one random policy after the other. */
export interface Campaign {
  /** Plays a policy of a seed. `predictBy` puts other questions than the policy in force would: then they must disagree. */
  readonly round: (options: {
    readonly seed: number;
    readonly pairs: number;
    readonly predictBy?: (decider: Decider) => Decider;
  }) => Promise<Round>;
}

const MAX_ROUNDS = 256;

/** Sets up a gateway in a lab, and the far side so that every address and TCP port of it answers. */
export async function openCampaign(lab: Lab): Promise<Campaign> {
  const gateway = await setUpGateway(lab, { policy: { version: 1, mode: "deny-all" }, threshold: 1 });
  await lab.execChecked("gateway", ["ip", "route", "add", "10.82.0.0/16", "dev", "lan0"]);
  await lab.execChecked("gateway", ["ip", "-6", "route", "add", "fd82::/64", "dev", "lan0"]);
  await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
  await lab.execChecked("internet", ["nft", "-f", "-"], {
    stdin: `table inet far {
  chain pre {
    type nat hook prerouting priority dstnat;
    iifname "wan0" tcp dport { 22, 9000 } redirect to :7000
  }
}
`,
  });
  for (const address of ["192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200"]) {
    await lab.execChecked("internet", ["ip", "route", "add", "local", address, "dev", "lo"]);
  }
  for (const address of ["fd12:3456::1", "fd00:ec2::254"]) {
    await lab.execChecked("internet", ["ip", "-6", "route", "add", "local", address, "dev", "lo"]);
  }
  let rounds = 0;
  return {
    round: async ({ seed, pairs, predictBy = (decider) => decider }) => {
      const startedMs = performance.now();
      if (rounds >= MAX_ROUNDS) throw new RangeError(`a lab has machines for ${MAX_ROUNDS} policies`);
      const { machines, prefixes } = machinesOf(rounds);
      rounds += 1;
      await addMachines(lab, machines);
      const random = seededRandom(seed * 2_654_435_761 + 1);
      const { text, policy } = validPolicy(random, prefixes);
      await enforce(gateway, text);
      await lab.mark();
      const tally = await playFlows(
        lab,
        predictBy(buildDecider(policy, () => nowMs() / 1000)),
        planFlows(random, machines, pairs),
      );
      return { seed, ...tally, policy: text, tookMs: performance.now() - startedMs };
    },
  };
}

/** Returns the first policy of a seed that is one. */
function validPolicy(random: Random, prefixes: readonly string[]): { readonly text: string; readonly policy: Policy } {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const text = `${JSON.stringify(randomPolicy(random, prefixes), null, 2)}\n`;
    const parsed = parsePolicy(Buffer.from(text), "policy.json");
    if (parsed.ok) return { text, policy: parsed.policy };
  }
  throw new Error("no valid policy in 1,000 tries");
}

async function enforce(gateway: TestGateway, text: string): Promise<void> {
  await gateway.commit(text, { signers: ["alice"] });
  const { ok, code, message } = await gateway.sync();
  if (!ok) throw new Error(`the policy is not in force: ${code} ${message}\n${text}`);
}

async function addMachines(lab: Lab, machines: readonly Machine[]): Promise<void> {
  if (machines.length !== MACHINES_PER_POLICY) throw new RangeError("machines are missing");
  const lines = machines.flatMap(({ v4, v6 }) => [`addr add ${v4}/32 dev eth0`, `addr add ${v6}/128 dev eth0 nodad`]);
  await lab.execChecked("agent1", ["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
}

interface Tally {
  pairs: number;
  through: number;
  disagreements: string[];
}

async function playFlows(lab: Lab, decider: Decider, plan: ReturnType<typeof planFlows>): Promise<Tally> {
  const tally: Tally = { pairs: 0, through: 0, disagreements: [] };
  const given = new Map<string, KnownName[]>();
  const mayReach = new Set<string>();
  for (const flows of [plan.toAddresses, plan.questions, plan.toNames]) {
    const predictions = flows.map((flow) => predict(decider, flow, given.get(flow.source) ?? []));
    for (const { reaches } of predictions) for (const flow of reaches) mayReach.add(flow);
    const passed = await probe(lab, decider, flows, predictions);
    tally.pairs += predictions.filter(({ isAllowed }) => isAllowed !== null).length;
    tally.through += passed.filter(Boolean).length;
    for (const [index, flow] of flows.entries()) {
      const isPassed = passed[index] ?? false;
      if (isPassed) noteGiven(given, flow);
      const prediction = predictions[index];
      if (prediction === undefined || prediction.isAllowed === null || prediction.isAllowed === isPassed) continue;
      tally.disagreements.push(describe(flow, prediction, isPassed));
    }
  }
  tally.disagreements.push(...(await findLeaks(lab, mayReach)));
  return tally;
}

/** A name that was answered leads its machine to the name's addresses. */
function noteGiven(given: Map<string, KnownName[]>, { source, name, to }: Flow): void {
  if (to !== null || name === null) return;
  given.set(source, [...(given.get(source) ?? []), name]);
}

/** Tries all flows; one that should pass and does not has a second chance, alone: the machine may have been busy. */
async function probe(
  lab: Lab,
  decider: Decider,
  flows: readonly Flow[],
  predictions: readonly Prediction[],
): Promise<readonly boolean[]> {
  const client = lab.client("agent1");
  const calls = flows.map((flow) => callOf(flow, isByProxy(decider.clientOf(flow.source))));
  const passed = (await client.batch(calls)).map(isThrough);
  for (const [index, call] of calls.entries()) {
    if (passed[index] || !predictions[index]?.isAllowed) continue;
    const [again = {}] = await client.batch([call]);
    passed[index] = isThrough(again);
  }
  return passed;
}

function describe({ source, name, to }: Flow, { isAllowed, because }: Prediction, isPassed: boolean): string {
  const where = to === null ? "question" : `${to.address} ${to.protocol} ${to.port}`;
  const what = name === null ? where : `${name.name} (${where})`;
  return `${source} → ${what}: explain says ${isAllowed ? "allow" : "deny"} [${because.join("; ")}], the gateway lets it ${isPassed ? "pass" : "not pass"}`;
}

/** What reached the internet side through the gateway and was allowed to nobody. The gateway itself asks named's upstream, Git and the statuses. */
async function findLeaks(lab: Lab, mayReach: ReadonlySet<string>): Promise<readonly string[]> {
  const own = [lab.addresses.dns, lab.addresses.git, lab.addresses.api].flatMap(({ v4, v6 }) => [v4, v6] as string[]);
  const { flows } = await lab.packets();
  return flows
    .filter(({ to, protocol, port }) => !own.includes(to) && !mayReach.has(`${to} ${protocol} ${port}`))
    .map(
      ({ from, to, protocol, port, packets }) =>
        `${packets} packets of ${from} reached ${to} ${protocol} ${port}, allowed to nobody`,
    );
}
