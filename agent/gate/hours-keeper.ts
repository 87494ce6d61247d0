import { type WindowSet, windowSets } from "../compile/nft-hours.ts";
import type { MarkedSchedule } from "../compile/policy-hours.ts";
import type { GateRelease } from "../compile/release.ts";
import type { TrustedClock } from "./trusted-clock.ts";
import { elementKey, planWindow, type WindowElement, windowText } from "./window-plan.ts";

/**
 * Keeps the kernel's times of schedules: the only writer of them. An element is written once and never prolonged, so that
 * the timeout that it got first counts. Only when the clock was put back, or has caught up, all are written anew: what
 * is not to open goes, and what was written by a wrong clock gets the right time; what was open then keeps what it had left.
 */
export interface HoursKeeper {
  /** Adds what the schedules of some releases lack, or writes all anew after a change of the clock. @throws AgentError HOST_COMMAND */
  add(releases: readonly (GateRelease | null)[]): Promise<void>;
  /** Writes all anew, for a set that somebody else may have changed. @throws AgentError HOST_COMMAND */
  rewrite(release: GateRelease | null): Promise<void>;
  /** Returns whether hours have begun or ended, or the clock was set, since it was asked last. */
  hasChanged(release: GateRelease | null): boolean;
}

/** What the keeper does in the kernel. */
export interface HoursKernel {
  /** Does a text's commands as one transaction. @throws AgentError HOST_COMMAND */
  load(text: string): Promise<void>;
  /** Returns whether a set has elements. @throws AgentError HOST_COMMAND */
  isFilled(set: WindowSet): Promise<boolean>;
}

/** Returns a keeper. */
export function createHoursKeeper(clock: TrustedClock, { load, isFilled }: HoursKernel): HoursKeeper {
  const [first, second] = windowSets;
  /** The set that has the times; null until it is known which one an earlier gate had used. */
  let inUse: WindowSet | null = null;
  const written = new Map<string, number>();
  const write = async (elements: readonly WindowElement[], isWhole: boolean): Promise<void> => {
    // An earlier gate may have ended between the two: then both have what was open.
    inUse ??= (await isFilled(second)) && !(await isFilled(first)) ? second : first;
    if (!isWhole) return await load(windowText(elements, inUse, false));
    const [old, next] = inUse === first ? [first, second] : [second, first];
    await load(windowText(elements, next, true));
    inUse = next;
    await load(windowText([], old, true));
  };
  let known = "";
  let wasBehind = clock.isBehind();
  const put = async (schedules: readonly MarkedSchedule[], isAnew: boolean): Promise<void> => {
    const isBehind = clock.isBehind();
    const isWhole = isAnew || isBehind !== wasBehind;
    const wanted = planWindow(schedules, clock);
    if (isWhole) written.clear();
    const at = clock.now();
    for (const [key, untilS] of written) if (at !== "unknown" && untilS < at - 60) written.delete(key);
    const missing = wanted.filter((element) => !written.has(elementKey(element)));
    if (missing.length === 0 && !isWhole) return;
    await write(missing, isWhole);
    wasBehind = isBehind;
    for (const element of missing) written.set(elementKey(element), element.untilS);
  };
  return {
    add: (releases) => put(schedulesOf(releases), false),
    rewrite: async (release) => {
      if (release?.schedules === undefined && written.size === 0 && known === "") return;
      await put(schedulesOf([release]), true);
    },
    hasChanged: (release) => {
      const state = schedulesOf([release])
        .map(({ mark, schedule }) => `${mark} ${clock.intervalsOf(schedule, 0)[0]?.untilS ?? "closed"}`)
        .join();
      const news = `${clock.isBehind()} ${state}`;
      const isNews = news !== known && !(known === "" && state === "");
      known = news;
      return isNews;
    },
  };
}

function schedulesOf(releases: readonly (GateRelease | null)[]): readonly MarkedSchedule[] {
  const all = releases.flatMap((release) => Object.values(release?.schedules ?? {}));
  return [...new Map(all.map((marked) => [marked.mark, marked])).values()];
}
