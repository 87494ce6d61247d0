import { compareTexts } from "../policy/compare-texts.ts";
import type { DecisionKey } from "./decision.ts";
import type { DecisionStore } from "./store.ts";
import { type DecisionSum, sliceDecisions, sumDecisions, type TimeSlice } from "./sum-decisions.ts";

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

/** What decisions amount to. */
export interface Measures {
  /** Questions that were answered, and that were refused. */
  readonly queries: number;
  readonly queriesDenied: number;
  readonly connections: number;
  /** Refused by the proxy of SNI mode. */
  readonly connectionsDenied: number;
  readonly packetsDenied: number;
  /** Let pass by an audit, and would be denied. */
  readonly wouldDeny: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
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

type By = (key: DecisionKey) => { readonly [field: string]: string | number | null };

const MAX_ROWS = 1_000;
const MAX_EXPORT_ROWS = 100_000;
const SLICES = 60;

const groupings: { readonly [view in TelemetryView]: By } = {
  agents: (key) => ({ agent: agentOf(key), host: key.host }),
  domains: ({ name }) => ({ domain: name }),
  agent: ({ name, destination, port, protocol, label, rule }) =>
    name === null
      ? { domain: null, destination, port, protocol, label, rule }
      : { domain: name, ...noTarget, label, rule },
  domain: (key) => ({ agent: agentOf(key), host: key.host, type: key.type }),
  denies: (key) => ({ ...key, agent: agentOf(key) }),
  export: (key) => ({ ...key }),
};
const noTarget = { destination: null, port: null, protocol: null };

/** Returns who decided decisions are about: the host entry, or the address of a client that is in none. */
function agentOf({ host, client }: DecisionKey): string | null {
  return host ?? client;
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
  const all = sumDecisions(store, fromS, nowS);
  const picked = all.filter(({ key }) => isMeant(view, target, key));
  const shown = redact === null ? picked : picked.map((sum) => ({ ...sum, key: redact(sum.key) }));
  const rows = groupBy(shown, groupings[view]).sort(byWeight);
  const max = view === "export" || query.allRows === true ? MAX_EXPORT_ROWS : MAX_ROWS;
  const { completeSinceS } = store.state();
  return {
    ...{ view, target, window },
    ...{ from: timeText(fromS), to: timeText(nowS) },
    complete: completeSinceS <= fromS,
    completeSince: timeText(completeSinceS),
    redacted: redact !== null,
    totals: measure(picked),
    rows: rows.slice(0, max),
    rowsLeftOut: Math.max(0, rows.length - max),
    slices: sliceDecisions(store, fromS, nowS, SLICES).map(({ fromS: startS, ...slice }) => ({
      from: timeText(startS),
      ...slice,
    })),
  };
}

function isMeant(view: TelemetryView, target: string | null, key: DecisionKey): boolean {
  if (view === "agent") return agentOf(key) === target || key.client === target;
  if (view === "domain") return key.name === target;
  if (view === "domains") return key.name !== null;
  return view !== "denies" || key.verdict !== "allow";
}

function groupBy(sums: readonly DecisionSum[], by: By): TelemetryRow[] {
  const groups = new Map<string, { by: ReturnType<By>; sums: DecisionSum[] }>();
  for (const sum of sums) {
    const fields = by(sum.key);
    const id = Object.values(fields).join("\0");
    const group = groups.get(id);
    if (group === undefined) groups.set(id, { by: fields, sums: [sum] });
    else group.sums.push(sum);
  }
  return [...groups.values()].map((group) => ({
    by: group.by,
    ...measure(group.sums),
    firstSeen: timeText(group.sums.reduce((least, { firstS }) => Math.min(least, firstS), Number.MAX_SAFE_INTEGER)),
    lastSeen: timeText(group.sums.reduce((most, { lastS }) => Math.max(most, lastS), 0)),
  }));
}

/** Returns what sums amount to together. */
export function measure(sums: readonly DecisionSum[]): Measures {
  const totals = { queries: 0, queriesDenied: 0, connections: 0, connectionsDenied: 0, packetsDenied: 0, wouldDeny: 0 };
  let bytesUp = 0;
  let bytesDown = 0;
  for (const { key, count, bytesUp: up, bytesDown: down } of sums) {
    bytesUp += up;
    bytesDown += down;
    totals[measureOf(key)] += count;
  }
  return { ...totals, bytesUp, bytesDown };
}

function measureOf({ plane, verdict }: DecisionKey): Exclude<keyof Measures, "bytesUp" | "bytesDown"> {
  if (verdict === "would-deny") return "wouldDeny";
  if (plane === "dns") return verdict === "allow" ? "queries" : "queriesDenied";
  if (verdict === "allow") return "connections";
  return plane === "ip" ? "packetsDenied" : "connectionsDenied";
}

/** The most denials first, then the most traffic; equal ones by name, so that the order says nothing by chance. */
function byWeight(a: TelemetryRow, b: TelemetryRow): number {
  return weight(b) - weight(a) || b.bytesUp + b.bytesDown - (a.bytesUp + a.bytesDown) || compareTexts(text(a), text(b));
}

function weight(row: Measures): number {
  const denied = row.queriesDenied + row.connectionsDenied + row.packetsDenied + row.wouldDeny;
  return denied + row.queries + row.connections;
}

function text({ by }: TelemetryRow): string {
  return Object.values(by).join(" ");
}

function timeText(atS: number): string {
  return new Date(atS * 1000).toISOString().replace(".000Z", "Z");
}
