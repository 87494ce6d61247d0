import type { WindowSet } from "../compile/nft-hours.ts";
import type { MarkedSchedule } from "../compile/policy-hours.ts";
import { markToken, numberToken } from "../compile/tokens.ts";
import type { TrustedClock } from "./trusted-clock.ts";

/** An element of a set of times in the kernel: a schedule holds from one instant to another, in seconds since the epoch. */
export interface WindowElement {
  readonly mark: number;
  readonly fromS: number;
  /** Infinity: without end, and without a timeout. */
  readonly untilS: number;
  /** How long the kernel keeps it, whatever the wall clock says. */
  readonly leftS: number;
}

/**
 * Each schedule's next interval is written, then more of them: for a week and a day, so that what opens once a week is
 * there in time with every process of ours dead. Beyond this many elements only the next one is: an interval set of two
 * fields is slow to change, and 500 take the kernel a second.
 */
const AHEAD_S = 8 * 86_400;
const MAX_ELEMENTS = 512;
/** The kernel counts nanoseconds in 63 bits. */
const FAR_S = 9_000_000_000;

/** Returns the elements that schedules should have in the kernel; of two alike only one. */
export function planWindow(schedules: Iterable<MarkedSchedule>, clock: TrustedClock): readonly WindowElement[] {
  const each = [...schedules].map(({ mark, schedule }) =>
    clock.intervalsOf(schedule, AHEAD_S).map((interval): WindowElement => ({ mark, ...interval })),
  );
  // A schedule that opens later than that has its next interval all the same, once it is within reach.
  const first = each.flatMap((elements) => elements.slice(0, 1));
  const later = each.flatMap((elements) => elements.slice(1)).sort((a, b) => a.fromS - b.fromS || a.mark - b.mark);
  return [...first, ...later.slice(0, Math.max(0, MAX_ELEMENTS - first.length))];
}

/** Returns what tells two elements apart: hours that touch the day before are the same interval, begun earlier. */
export function elementKey({ mark, untilS }: Pick<WindowElement, "mark" | "untilS">): string {
  return `${mark} ${untilS}`;
}

/** Returns nft commands that add elements to a set, in place of all that are there if so told; empty when there is nothing to do. */
export function windowText(elements: readonly WindowElement[], set: WindowSet, isWhole: boolean): string {
  const flush = isWhole ? `flush set inet clawgress ${set}\n` : "";
  if (elements.length === 0) return flush;
  return `${flush}add element inet clawgress ${set} {\n${elements.map(elementText).join(",\n")}\n}\n`;
}

function elementText({ mark, fromS, untilS, leftS }: WindowElement): string {
  const isEndless = !Number.isFinite(untilS);
  const from = numberToken(Math.max(0, Math.floor(fromS === Number.NEGATIVE_INFINITY ? 0 : fromS)), 0, FAR_S);
  const until = numberToken(isEndless ? FAR_S : Math.floor(untilS), 0, FAR_S);
  const timeout = isEndless ? "" : ` timeout ${numberToken(Math.max(1, Math.ceil(leftS)), 1, FAR_S)}s`;
  return `${markToken(mark)} . ${from}-${until}${timeout}`;
}
