import { type DecisionKey, keyText, valuesText } from "./decision.ts";
import { compareGroups, createGroups, type Group, type Measures } from "./group-decisions.ts";
import { selectFirst } from "./select-first.ts";
import type { DecisionStore } from "./store.ts";
import { sumWindow, type TimeSlice } from "./sum-decisions.ts";

export const telemetryViews = ["agents", "domains", "agent", "domain", "denies", "export"] as const;
export type TelemetryView = (typeof telemetryViews)[number];

export const telemetryWindows = { "1m": 60, "5m": 300, "1h": 3600, "24h": 86_400 } as const;
export type TelemetryWindow = keyof typeof telemetryWindows;

/** Returns whether a text names a view. */
export function isTelemetryView(text: string): text is TelemetryView {
  return (telemetryViews as readonly string[]).includes(text);
}

/** Returns whether a text names a window. */
export function isTelemetryWindow(text: string): text is TelemetryWindow {
  return Object.hasOwn(telemetryWindows, text);
}

export interface TelemetryQuery {
  readonly view: TelemetryView;
  /** The agent or domain of the views that are about one. */
  readonly target: string | null;
  readonly window: TelemetryWindow;
  /** True gives every row, for a caller on this machine. */
  readonly allRows?: boolean;
}

/** The decisions that have some fields in common. */
export interface TelemetryRow extends Measures {
  /** The fields of the view; see the schema. */
  readonly by: { readonly [field: string]: string | number | null };
  /** ISO 8601, UTC. */
  readonly firstSeen: string;
  readonly lastSeen: string;
}

/** `policy-schema/telemetry.schema.json` */
export interface Telemetry {
  readonly view: TelemetryView;
  readonly target: string | null;
  readonly window: TelemetryWindow;
  readonly from: string;
  readonly to: string;
  /** False when decisions of the window are not stored any more, or are not stored yet. */
  readonly complete: boolean;
  readonly completeSince: string;
  readonly redacted: boolean;
  readonly totals: Measures;
  readonly rows: readonly TelemetryRow[];
  /** Rows that are left out, the smallest ones. */
  readonly rowsLeftOut: number;
  readonly slices: readonly (Omit<TimeSlice, "fromS"> & { readonly from: string })[];
}

type Fields = { readonly [field: string]: string | number | null };

interface Grouping {
  /** Decisions with the same text are one row; null: each kind of decision is. */
  readonly textOf: ((key: DecisionKey) => string) | null;
  /** What the row shows of its decisions. */
  readonly fieldsOf: (key: DecisionKey) => Fields;
}

const MAX_ROWS = 1_000;
const MAX_EXPORT_ROWS = 100_000;
const SLICES = 60;
const DAY_S = 86_400;

const groupings: { readonly [view in TelemetryView]: Grouping } = {
  agents: { textOf: agentText, fieldsOf: (key) => ({ agent: agentOf(key), host: key.host }) },
  domains: { textOf: ({ name }) => name ?? "", fieldsOf: ({ name }) => ({ domain: name }) },
  agent: { textOf: (key) => valuesText(Object.values(aimOf(key))), fieldsOf: aimOf },
  domain: {
    textOf: ({ host, client, type }) => valuesText([host ?? client, host, type]),
    fieldsOf: (key) => ({ agent: agentOf(key), host: key.host, type: key.type }),
  },
  denies: { textOf: null, fieldsOf: (key) => ({ ...key, agent: agentOf(key) }) },
  export: { textOf: null, fieldsOf: (key) => ({ ...key }) },
};

/** What the decisions of one agent are about: a name, or where it went without one. */
function aimOf({ name, destination, port, protocol, label, rule }: DecisionKey): Fields {
  return name === null
    ? { domain: null, destination, port, protocol, label, rule }
    : { domain: name, destination: null, port: null, protocol: null, label, rule };
}

/** Returns who decided decisions are about: the host entry, or the address of a client that is in none. */
function agentOf({ host, client }: DecisionKey): string | null {
  return host ?? client;
}

/** A host may be called as an address is written. */
function agentText({ host, client }: DecisionKey): string {
  return host ?? valuesText([null, client]);
}

/** Returns what was decided in the window that ends now. `redact` changes keys before they are counted together. */
export function readTelemetry(
  store: Pick<DecisionStore, "segments" | "keys" | "state">,
  query: TelemetryQuery,
  nowS: number,
  redact: ((key: DecisionKey) => DecisionKey) | null = null,
): Telemetry {
  const { view, target, window } = query;
  // The second that is under way counts too; the window then holds as many seconds as it says.
  const fromS = nowS - telemetryWindows[window] + 1;
  const sums = sumWindow(store, fromS, nowS, SLICES);
  const { textOf } = groupings[view];
  // What is redacted may have become equal.
  const groups = createGroups(sums, textOf ?? (redact === null ? null : keyText));
  for (const id of sums.ids) {
    const key = store.keys.key(id);
    if (isMeant(view, target, key)) groups.add(id, redact === null ? key : redact(key));
  }
  const max = view === "export" || query.allRows === true ? MAX_EXPORT_ROWS : MAX_ROWS;
  const { completeSinceS } = store.state();
  return {
    ...{ view, target, window },
    ...{ from: timeText(fromS), to: timeText(nowS) },
    complete: completeSinceS <= fromS,
    completeSince: timeText(completeSinceS),
    redacted: redact !== null,
    totals: groups.totals,
    rows: selectFirst(groups.all, max, compareGroups).map(createRowOf(groupings[view])),
    rowsLeftOut: Math.max(0, groups.all.length - max),
    slices: sums.slices.map(({ fromS: startS, ...slice }) => ({ from: timeText(startS), ...slice })),
  };
}

function isMeant(view: TelemetryView, target: string | null, key: DecisionKey): boolean {
  if (view === "agent") return agentOf(key) === target || key.client === target;
  if (view === "domain") return key.name === target;
  if (view === "domains") return key.name !== null;
  return view !== "denies" || key.verdict !== "allow";
}

/** Written out, since an export has 100,000 rows. */
function createRowOf({ fieldsOf }: Grouping): (group: Group) => TelemetryRow {
  const timeOf = createTimeText();
  return (group) => ({
    by: fieldsOf(group.key),
    queries: group.queries,
    queriesDenied: group.queriesDenied,
    connections: group.connections,
    connectionsDenied: group.connectionsDenied,
    packetsDenied: group.packetsDenied,
    wouldDeny: group.wouldDeny,
    bytesUp: group.bytesUp,
    bytesDown: group.bytesDown,
    firstSeen: timeOf(group.firstS),
    lastSeen: timeOf(group.lastS),
  });
}

function timeText(atS: number): string {
  return new Date(atS * 1000).toISOString().replace(".000Z", "Z");
}

/** Returns `timeText` for many times of few days: it takes a microsecond, and an export has 200,000 of them. */
function createTimeText(): (atS: number) => string {
  const dates = new Map<number, string>();
  return (atS) => {
    const day = Math.floor(atS / DAY_S);
    const date = dates.get(day) ?? timeText(day * DAY_S).slice(0, 10);
    dates.set(day, date);
    const second = atS - day * DAY_S;
    return `${date}T${twoDigits(second / 3600)}:${twoDigits((second / 60) % 60)}:${twoDigits(second % 60)}Z`;
  };
}

function twoDigits(value: number): string {
  const whole = Math.floor(value);
  return whole < 10 ? `0${whole}` : String(whole);
}
