import type { Logger } from "pino";
import type { MarkedCap } from "../compile/release.ts";
import { createTurn } from "../host/turn.ts";
import { periodEndMs, periodStartMs } from "../policy/cap-period.ts";
import { patternText } from "../policy/pattern-text.ts";
import { parseUsages, usagesText } from "./cap-file.ts";
import {
  type CapChange,
  type KernelCaps,
  type KernelQuota,
  type KnownUsage,
  type Meter,
  planCaps,
  usageKey,
} from "./cap-ledger.ts";

/** A byte cap and what has gone through it in its period. */
export interface CapUsage extends Meter {
  /** When the period ends; milliseconds since 1970. */
  readonly endMs: number;
}

/** Looks after the kernel's counters of byte caps. Calls run one after the other. */
export interface Meters {
  /** Makes the kernel count for the caps of a release. @throws AgentError HOST_COMMAND; then it counts as before. */
  activate(caps: readonly MarkedCap[]): Promise<void>;
  /** Looks at the counters, begins periods that are due, and saves what is known. Returns when to look again, in ms. */
  look(): Promise<number>;
  /** Returns the caps in force, sorted by host and pattern, as of the last look. */
  usages(): readonly CapUsage[];
  /** Returns one of them, or null. */
  usageOf(mark: number): CapUsage | null;
  /** Saves what is known now. */
  close(): Promise<void>;
}

export interface MetersOptions {
  readonly readKernel: () => Promise<KernelCaps>;
  readonly readQuotas: () => Promise<ReadonlyMap<number, KernelQuota>>;
  readonly write: (changes: readonly CapChange[]) => Promise<void>;
  /** Null when there is no file yet. */
  readonly load: () => Promise<string | null>;
  readonly save: (text: string) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
}

/** What comes back over a flow whose cap is reached ends with the next look. */
const LOOK_MS = 500;
/** Reading 10,000 counters takes 0.2 s of a core: a pause is at least ten times as long as the look before it. */
const LOOK_SHARE = 10;
const MAX_LOOK_MS = 5000;
/** What a loss of power can make forgotten; a cap that is reached, and a period that begins, are saved at once. */
const SAVE_MS = 5000;
/** Timers may be a little early. */
const AFTER_END_MS = 5;

/** Returns the meters of a gate; nothing is read before the first call. */
export function createMeters(options: MetersOptions): Meters {
  const { nowMs, log } = options;
  let caps: readonly MarkedCap[] = [];
  let known: ReadonlyMap<string, KnownUsage> | null = null;
  let meters: ReadonlyMap<string, Meter> = new Map();
  let byMark: ReadonlyMap<number, Meter> = new Map();
  let savedText = "";
  let savedMs = 0;
  const inTurn = createTurn();
  /** A file that is damaged says nothing about what was sent: until their periods end, its caps are taken for used up. */
  const loadOnce = async (wanted: readonly MarkedCap[]): Promise<ReadonlyMap<string, KnownUsage>> => {
    if (known !== null) return known;
    const text = await options.load();
    const usages = text === null ? new Map() : parseUsages(text);
    if (usages === null) log.error({ event: "usage-damaged", caps: wanted.length });
    return usages ?? new Map(wanted.map((cap) => usedUp(cap, nowMs())));
  };
  const save = async (): Promise<void> => {
    if (known === null) return;
    const text = usagesText(known.values());
    savedMs = nowMs();
    if (text === savedText) return;
    await options.save(text);
    savedText = text;
  };
  const apply = async (wanted: readonly MarkedCap[], kernel: KernelCaps): Promise<void> => {
    const plan = planCaps(wanted, await loadOnce(wanted), kernel, nowMs());
    await options.write(plan.changes);
    const before = meters;
    caps = wanted;
    meters = plan.meters;
    byMark = new Map([...meters.values()].map((meter) => [meter.mark, meter]));
    known = new Map<string, KnownUsage>([...plan.retired, ...plan.meters]);
    const isNews = tell(before, meters, log);
    if (isNews || Math.abs(nowMs() - savedMs) >= SAVE_MS) await save();
  };
  const present = (): { linked: ReadonlySet<number>; spent: ReadonlySet<number> } => {
    const all = [...meters.values()];
    const spent = all.filter(({ isSpent }) => isSpent).map(({ mark }) => mark);
    return { linked: new Set(all.map(({ mark }) => mark)), spent: new Set(spent) };
  };
  const usage = (meter: Meter): CapUsage => ({ ...meter, endMs: periodEndMs(meter.period, meter.startMs) });
  return {
    activate: (wanted) =>
      inTurn(async () => {
        if (wanted.length === 0 && caps.length === 0 && known !== null) return;
        await apply(wanted, await options.readKernel());
      }),
    look: () =>
      inTurn(async () => {
        if (caps.length === 0) return LOOK_MS;
        const begunMs = nowMs();
        await apply(caps, { quotas: await options.readQuotas(), ...present() });
        const pauseMs = Math.min(MAX_LOOK_MS, Math.max(LOOK_MS, LOOK_SHARE * (nowMs() - begunMs)));
        const ends = [...meters.values()].map(({ period, startMs }) => periodEndMs(period, startMs) - nowMs());
        const nextEnd = ends.reduce((least, end) => Math.min(least, end), pauseMs);
        return Math.max(AFTER_END_MS, Math.min(pauseMs, nextEnd + AFTER_END_MS));
      }),
    usages: () => [...meters.values()].map(usage).sort((a, b) => (usageKey(a) < usageKey(b) ? -1 : 1)),
    usageOf: (mark) => {
      const meter = byMark.get(mark);
      return meter === undefined ? null : usage(meter);
    },
    close: () => inTurn(save),
  };
}

function usedUp(cap: MarkedCap, nowMs: number): readonly [string, KnownUsage] {
  const { group, period, bytes } = cap;
  const usage = {
    group,
    pattern: patternText(cap.pattern),
    period,
    startMs: periodStartMs(period, nowMs),
    used: bytes,
  };
  return [usageKey(usage), usage];
}

/** Returns whether anything has to outlive what comes next, and logs caps that are reached and open again. */
function tell(before: ReadonlyMap<string, Meter>, now: ReadonlyMap<string, Meter>, log: Pick<Logger, "info">): boolean {
  let isNews = before.size !== now.size;
  for (const [key, meter] of now) {
    const old = before.get(key);
    // Nobody asks after a reboot what was sent in a second before it.
    if (old?.startMs !== meter.startMs && meter.period !== "second" && (old?.used ?? 1) > 0) isNews = true;
    if (meter.isSpent === (old?.isSpent ?? false)) continue;
    isNews = true;
    const { group, pattern, bytes, period, used } = meter;
    log.info({ event: meter.isSpent ? "cap-reached" : "cap-open-again", host: group, pattern, bytes, period, used });
  }
  return isNews;
}
