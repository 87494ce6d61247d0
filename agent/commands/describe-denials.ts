import type { Measures } from "../decisions/group-decisions.ts";
import type { Telemetry } from "../decisions/telemetry.ts";
import { renderTable } from "./table.ts";

const TOP = 10;
/** The slices of the window, a line of bars each. */
const BARS = 12;
const BAR_WIDTH = 40;

const groupings: readonly (readonly [title: string, field: string])[] = [
  ["by reason", "reason"],
  ["by host", "agent"],
  ["by name", "name"],
  ["by destination", "destination"],
  ["by label", "label"],
];

/** Returns what was denied in a window as lines for people: by time, reason, host, name, destination and label; every figure exact. */
export function describeDenials(telemetry: Telemetry): readonly string[] {
  const { window, from, to, complete, completeSince } = telemetry;
  const total = denialsOf(telemetry.totals);
  const gap = complete ? [] : [`not complete: decisions are stored since ${completeSince}`];
  if (total === 0) return [`denied in the last ${window} (${from} to ${to}): nothing`, ...gap];
  return [
    `denied in the last ${window} (${from} to ${to}): ${total}`,
    ...gap,
    ...describeTime(telemetry),
    ...groupings.flatMap(([title, field]) => {
      const shown = rankBy(telemetry, field).slice(0, TOP);
      return renderTable(
        ["denied", title],
        shown.map(({ what, denied }) => [denied, what]),
      );
    }),
  ];
}

/** What was denied in a window, as a document. */
export interface DenialSummary {
  readonly window: string;
  readonly from: string;
  readonly to: string;
  readonly complete: boolean;
  readonly denied: number;
  readonly slices: readonly { readonly from: string; readonly denied: number }[];
  readonly byReason: readonly Ranked[];
  readonly byHost: readonly Ranked[];
  readonly byName: readonly Ranked[];
  readonly byDestination: readonly Ranked[];
  readonly byLabel: readonly Ranked[];
}

interface Ranked {
  readonly what: string;
  readonly denied: number;
}

const MAX_RANKED = 1_000;

/** Returns what was denied in a window, each list with the most frequent thousand. */
export function summarizeDenials(telemetry: Telemetry): DenialSummary {
  const { window, from, to, complete, totals, slices } = telemetry;
  const by = (field: string): readonly Ranked[] => rankBy(telemetry, field).slice(0, MAX_RANKED);
  return {
    ...{ window, from, to, complete, denied: denialsOf(totals) },
    slices: slices.map(({ from: startsAt, denied }) => ({ from: startsAt, denied })),
    ...{ byReason: by("reason"), byHost: by("agent"), byName: by("name") },
    ...{ byDestination: by("destination"), byLabel: by("label") },
  };
}

function denialsOf({ queriesDenied, connectionsDenied, packetsDenied }: Measures): number {
  return queriesDenied + connectionsDenied + packetsDenied;
}

function describeTime({ slices }: Telemetry): readonly string[] {
  const perBar = Math.max(1, Math.ceil(slices.length / BARS));
  const bars: { from: string; denied: number }[] = [];
  for (let at = 0; at < slices.length; at += perBar) {
    const part = slices.slice(at, at + perBar);
    bars.push({ from: part[0]?.from ?? "", denied: part.reduce((sum, { denied }) => sum + denied, 0) });
  }
  const most = Math.max(1, ...bars.map(({ denied }) => denied));
  const rows = bars.map(({ from, denied }) => [
    denied,
    from.slice(11, 19),
    "#".repeat(Math.ceil((denied / most) * BAR_WIDTH)),
  ]);
  return renderTable(["denied", "from", ""], rows);
}

function rankBy({ rows }: Telemetry, field: string): readonly Ranked[] {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const value = row.by[field];
    const denials = denialsOf(row);
    if (value === null || value === undefined || denials === 0) continue;
    counts.set(String(value), (counts.get(String(value)) ?? 0) + denials);
  }
  const ranked = [...counts].map(([what, denied]) => ({ what, denied }));
  return ranked.sort((a, b) => b.denied - a.denied || (a.what < b.what ? -1 : 1));
}
