import {
  isTelemetryView,
  isTelemetryWindow,
  type Telemetry,
  type TelemetryRow,
  type TelemetryView,
  telemetryViews,
  telemetryWindows,
} from "../decisions/telemetry.ts";
import { AgentError, type Json } from "../errors.ts";
import { pathsOf } from "../settings/paths.ts";
import { createTelemetryClient } from "./ask-telemetry.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";
import { bytesText, type Cell, renderTable } from "./table.ts";

export interface TelemetryOptions {
  readonly config: string;
  readonly view: string;
  readonly target?: string;
  readonly window: string;
  readonly redact?: boolean;
}

/** Says what was decided in a window of time. Returns 0. @throws AgentError USAGE, API_UNREACHABLE */
export async function showTelemetry(options: TelemetryOptions, output: Output): Promise<number> {
  const { view, window } = checkOptions(options);
  const client = createTelemetryClient(pathsOf(await loadSettings(options.config)).apiSocket);
  const query = { view, window, target: options.target ?? null };
  const telemetry = await client.telemetry(query, options.redact ?? false);
  for (const line of describeTelemetry(telemetry)) output.line(line);
  output.document(telemetry as unknown as Json);
  return 0;
}

function checkOptions({ view, target, window }: TelemetryOptions): {
  view: TelemetryView;
  window: keyof typeof telemetryWindows;
} {
  if (!isTelemetryView(view)) {
    throw new AgentError("USAGE", `there is no view ${view}`, { remedy: `choose one of ${telemetryViews.join(", ")}` });
  }
  if (!isTelemetryWindow(window)) {
    const remedy = `choose one of ${Object.keys(telemetryWindows).join(", ")}`;
    throw new AgentError("USAGE", `there is no window ${window}`, { remedy });
  }
  const isAboutOne = view === "agent" || view === "domain";
  if (isAboutOne !== (target !== undefined)) {
    const remedy = isAboutOne ? `name it: clawgress telemetry ${view} NAME` : "leave the name out";
    throw new AgentError("USAGE", `the view ${view} is about ${isAboutOne ? "one of them" : "all of them"}`, {
      remedy,
    });
  }
  return { view, window };
}

/** Returns telemetry as lines for people. */
export function describeTelemetry(telemetry: Telemetry): readonly string[] {
  const { view, target, window, from, to, complete, completeSince, totals, rowsLeftOut } = telemetry;
  const about = target === null ? view : `${view} ${target}`;
  const gap = complete ? [] : [`not complete: decisions are stored since ${completeSince}`];
  const more = rowsLeftOut === 0 ? [] : [`and ${rowsLeftOut} smaller rows`];
  return [
    `${about}, the last ${window} (${from} to ${to})`,
    ...gap,
    `questions ${totals.queries} answered, ${totals.queriesDenied} denied; connections ${totals.connections} let through, ${totals.connectionsDenied} denied; packets denied ${totals.packetsDenied}; would be denied ${totals.wouldDeny}`,
    `traffic   ${bytesText(totals.bytesUp)} up, ${bytesText(totals.bytesDown)} down`,
    ...renderTable(
      [...keyHeads[view], ...measureHeads],
      telemetry.rows.map((row) => [...keyCells(view, row), ...measureCells(row)]),
    ),
    ...more,
  ];
}

const keyHeads: { readonly [view in TelemetryView]: readonly string[] } = {
  agents: ["agent"],
  domains: ["domain"],
  agent: ["towards", "label", "rule"],
  domain: ["agent", "type"],
  denies: ["plane", "reason", "agent", "towards", "label"],
  export: ["plane", "verdict", "reason", "client", "towards", "label"],
};
const measureHeads = ["queries", "denied", "conns", "denied", "packets", "would", "up", "down", "last"];

function keyCells(view: TelemetryView, { by }: TelemetryRow): readonly Cell[] {
  const towards = towardsText(by);
  switch (view) {
    case "agents":
      return [by["agent"] ?? null];
    case "domains":
      return [by["domain"] ?? null];
    case "agent":
      return [towards, by["label"] ?? null, by["rule"] ?? null];
    case "domain":
      return [by["agent"] ?? null, by["type"] ?? null];
    case "denies":
      return [by["plane"] ?? null, by["reason"] ?? null, by["agent"] ?? null, towards, by["label"] ?? null];
    case "export":
      return [
        ...[by["plane"] ?? null, by["verdict"] ?? null, by["reason"] ?? null, by["client"] ?? null],
        ...[towards, by["label"] ?? null],
      ];
  }
}

function towardsText(by: TelemetryRow["by"]): string | null {
  const name = by["domain"] ?? by["name"] ?? null;
  const { destination = null, port = null, protocol = null } = by;
  const flow = [destination, port].filter((part) => part !== null).join(":");
  const place = protocol === null || flow === "" ? flow : `${flow}/${protocol}`;
  if (name === null) return place === "" ? null : place;
  return place === "" ? String(name) : `${name} ${place}`;
}

function measureCells(row: TelemetryRow): readonly Cell[] {
  return [
    ...[row.queries, row.queriesDenied, row.connections, row.connectionsDenied, row.packetsDenied, row.wouldDeny],
    ...[bytesText(row.bytesUp), bytesText(row.bytesDown), row.lastSeen],
  ];
}
