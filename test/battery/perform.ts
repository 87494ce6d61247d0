import { sleepMs } from "../../agent/host/clock.ts";
import { matches, readAllRecords } from "./records.ts";
import type { Attempt, Forbidden, Scenario, WantedRecord } from "./scenario.ts";
import { openScene, type Scene, type Stage } from "./scene.ts";

/** How a scenario went. Before a gateway that holds, all five are empty or null. */
export interface Performance {
  /** What the attacker got, and what of it reached the internet side. */
  readonly gained: readonly string[];
  /** What was refused, but not at once. */
  readonly slow: readonly string[];
  /** Why what is allowed did not work. */
  readonly control: string | null;
  /** Records that should be there and are not. */
  readonly missing: readonly string[];
  /** Before an open gateway: what should have got something, or arrived, and did not; or did, and should be unable to. */
  readonly vain: readonly string[];
}

export const held: Performance = { gained: [], slow: [], control: null, missing: [], vain: [] };

/** A refusal that takes longer is a timeout to whoever waits for it. */
const QUICK_MS = 1_000;

/** Plays a scenario on a stage. @throws Error when the attack could not be made */
export async function perform(stage: Stage, scenario: Scenario, family: 4 | 6): Promise<Performance> {
  const scene = await openScene(stage, family);
  const forbidden = scenario.forbidden?.(scene) ?? {};
  await awaitSilence(scene, forbidden);
  const attempts = await scenario.attack(scene);
  const reached = await readReached(scene, forbidden);
  const isOpen = stage.gateway === null;
  const wanted = isOpen ? [] : ((await scenario.records?.(scene)) ?? []);
  return {
    gained: [
      ...attempts.flatMap(({ what, gained }) => (gained === null ? [] : [`${what}: ${gained}`])),
      ...reached.flatMap(({ seen }) => seen),
    ],
    slow: isOpen ? [] : attempts.flatMap(({ what, ms }) => (ms < QUICK_MS ? [] : [`${what}: ${Math.round(ms)} ms`])),
    control: await tryControl(scenario, scene),
    missing: await findMissing(scene, wanted),
    vain: isOpen ? [...attempts.flatMap(vainOf), ...reached.flatMap(unseenOf)] : [],
  };
}

function vainOf({ what, gained, cannotGain }: Attempt): readonly string[] {
  if (cannotGain === undefined) return gained === null ? [what] : [];
  return gained === null ? [] : [`${what}, of which is said: ${cannotGain}`];
}

const unseenOf = ({ what, seen }: Reached): readonly string[] => (seen.length === 0 ? [`${what} did not arrive`] : []);

async function tryControl(scenario: Scenario, scene: Scene): Promise<string | null> {
  try {
    await scenario.control(scene);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Counting begins when nothing of what is forbidden comes any more from connections that are over. */
async function awaitSilence(scene: Scene, forbidden: Forbidden): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    await scene.lab.mark();
    if ((forbidden.packets ?? []).length === 0) return;
    await sleepMs(20);
    if ((await readReached(scene, forbidden)).every(({ seen }) => seen.length === 0)) return;
  }
}

/** What of a forbidden kind was seen on the internet side. */
interface Reached {
  readonly what: string;
  readonly seen: readonly string[];
}

async function readReached({ lab }: Scene, { packets = [], queries = [] }: Forbidden): Promise<readonly Reached[]> {
  const reached: Reached[] = [];
  if (packets.length > 0) {
    const { flows } = await lab.packets();
    for (const filter of packets) {
      const keys = Object.keys(filter) as (keyof typeof filter)[];
      const own = flows.filter((one) => keys.every((key) => one[key] === filter[key]));
      const seen = own.map((flow) => `${flow.packets} packets of ${flow.protocol} to ${flow.to} port ${flow.port}`);
      reached.push({ what: JSON.stringify(filter), seen });
    }
  }
  for (const name of queries) {
    const found = await lab.queries({ name });
    const seen = found
      .slice(0, 1)
      .map((one) => `${found.length} questions of ${name}, such as ${one.name} ${one.type}`);
    reached.push({ what: `a question of ${name}`, seen });
  }
  return reached;
}

/** Returns which of the wanted records are not there after 3 s, with what is. */
async function findMissing(scene: Scene, wanted: readonly WantedRecord[]): Promise<readonly string[]> {
  if (wanted.length === 0) return [];
  for (let attempt = 0; ; attempt += 1) {
    const all = await readAllRecords(scene);
    const own = all.filter(({ client }) => Object.values(scene.machine).includes(`${client}`));
    const missing = wanted.filter(
      (want) => !(want["client"] === undefined ? own : all).some((one) => matches(one, want)),
    );
    if (missing.length === 0) return [];
    if (attempt >= 60) {
      const near = own.length > 0 ? own : all;
      const seen = near.map((one) => `${one["client"]} ${one["reason"]} ${one["name"] ?? one["destination"]}`);
      return [`${missing.map((one) => JSON.stringify(one)).join(", ")}; there were ${seen.slice(-8).join(", ")}`];
    }
    await sleepMs(50);
  }
}
