import { readDenyCounters } from "../apply/kernel-counters.ts";
import { isTelemetryWindow, type Telemetry } from "../decisions/telemetry.ts";
import { AgentError, codes, type Json } from "../errors.ts";
import { createGateControl, type GateStatus } from "../gate/control-client.ts";
import type { PlaneTotals } from "../gate/deny-records.ts";
import type { CapUsage } from "../gate/meters.ts";
import { readForeignFileIfAny } from "../host/files.ts";
import { plainText } from "../plain-text.ts";
import { capStateText } from "../policy/cap-text.ts";
import { type ProxyTotals, readProxyTotals } from "../report/proxy-totals.ts";
import { type Ranked, type RecordSummary, summarizeRecords } from "../report/summarize-records.ts";
import { pathsOf } from "../settings/paths.ts";
import { createTelemetryClient } from "./ask-telemetry.ts";
import { describeDenials, summarizeDenials } from "./describe-denials.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

const TOP = 10;
const MAX_PROXY_RECORD_BYTES = 16 * 1024 * 1024;

/**
 * Says how much was denied, why, to whom and towards what. Returns 0, or the status of GATE_UNREACHABLE when the gate's
 * totals are missing.
 */
export async function showStats(
  options: { readonly config: string; readonly window: string },
  output: Output,
): Promise<number> {
  const settings = await loadSettings(options.config);
  const { denyRecords, gateSocket, apiSocket, proxyRecords, proxyTotals } = pathsOf(settings);
  const [telemetry, gate, caps, proxy, counters, files, proxyFiles] = await Promise.all([
    askTelemetry(apiSocket, options.window),
    askGate(gateSocket),
    askCaps(gateSocket),
    readProxyTotals(proxyTotals),
    readDenyCounters(),
    readRecordFiles(denyRecords, settings.records.maxBytes),
    readRecordFiles(proxyRecords, MAX_PROXY_RECORD_BYTES),
  ]);
  const summary = summarizeRecords([...files, ...proxyFiles], TOP);
  for (const line of [
    ...(telemetry === null
      ? ["the process of the API does not answer: what is stored is missing"]
      : describeDenials(telemetry)),
    ...describeTotals(gate),
    ...describeProxyTotals(proxy),
    ...describeCounters(counters),
    ...describeCaps(caps),
    ...describeRecords(summary, proxy === null ? denyRecords : `${denyRecords} and ${proxyRecords}`),
    ...describeTop("most denied names", summary.names, "lines"),
    ...describeTop("most denied destinations", summary.destinations, "lines"),
    ...describeTop("clients with most denials", summary.clients, "denials"),
  ]) {
    output.line(line);
  }
  output.document({
    ok: gate !== null,
    gateway: settings.gateway,
    since: gate?.startedAt ?? null,
    denied: (gate === null ? null : { ...gate.denials.denied, ...proxy?.denied }) as Json,
    audited: (gate?.denials.audited ?? null) as Json,
    written: gate?.denials.written ?? null,
    unattributed: gate?.denials.unattributed ?? null,
    proxy:
      proxy === null
        ? null
        : {
            since: proxy.since,
            written: proxy.written,
            unattributed: proxy.unattributed,
            denied: proxy.denied as Json,
          },
    packets: counters as Json,
    caps: caps.map(({ group, pattern, period, bytes, used, isSpent, endMs }) => ({
      ...{ host: group, pattern, period, bytes, used, isSpent, until: new Date(endMs).toISOString() },
    })),
    records: summary as unknown as Json,
    denials: telemetry === null ? null : (summarizeDenials(telemetry) as unknown as Json),
  });
  return gate === null ? codes.GATE_UNREACHABLE.exit : 0;
}

async function askTelemetry(socket: string, window: string): Promise<Telemetry | null> {
  if (!isTelemetryWindow(window)) throw new AgentError("USAGE", `there is no window ${window}`);
  try {
    return await createTelemetryClient(socket).telemetry(
      { view: "denies", target: null, window, allRows: true },
      false,
    );
  } catch {
    // Not answering is an answer here: the lines say so.
    return null;
  }
}

async function askGate(socket: string): Promise<GateStatus | null> {
  try {
    return await createGateControl(socket).status();
  } catch {
    // Not answering is an answer here: the lines say so.
    return null;
  }
}

async function askCaps(socket: string): Promise<readonly CapUsage[]> {
  try {
    return await createGateControl(socket).caps();
  } catch {
    // The lines say so where the gate's totals are missing.
    return [];
  }
}

/** The fullest first. */
function describeCaps(caps: readonly CapUsage[]): readonly string[] {
  if (caps.length === 0) return [];
  const share = ({ used, bytes }: CapUsage): number => Math.min(1, used / bytes);
  const fullest = caps.toSorted((a, b) => share(b) - share(a)).slice(0, TOP);
  const rows = fullest.map((cap) => {
    const state = cap.isSpent ? "  REFUSED" : "";
    return `${`${Math.floor(share(cap) * 100)}%`.padStart(10)}  ${cap.group} → ${cap.pattern}: ${capStateText(cap)}${state}`;
  });
  return [`byte caps, the fullest of ${caps.length}`, ...rows];
}

/** Yields the lines of both files, the older one first; a line that is cut by a rotation in between is damaged. */
async function readRecordFiles(path: string, maxBytes: number): Promise<readonly string[]> {
  const texts = await Promise.all(
    [`${path}.1`, path].map(async (file) => (await readForeignFileIfAny(file, maxBytes))?.toString("utf8") ?? ""),
  );
  return texts.flatMap((text) => text.split("\n")).filter((line) => line !== "");
}

function describeTotals(gate: GateStatus | null): readonly string[] {
  if (gate === null) return ["the gate does not answer: its totals are missing"];
  const rows = rowsOf(gate.denials.denied);
  const audited = rowsOf(gate.denials.audited);
  const passed = audited.length === 0 ? [] : ["let pass by an AUDIT, and would be denied", ...audited];
  const note = describeLost(gate.denials.unattributed, "packets and questions");
  return [
    `denied since ${gate.startedAt} (the gate's start)`,
    ...(rows.length > 0 ? rows : ["   nothing"]),
    ...passed,
    ...note,
  ];
}

function describeProxyTotals(proxy: ProxyTotals | null): readonly string[] {
  const rows = proxy === null ? [] : rowsOf(proxy.denied);
  if (proxy === null || rows.length === 0) return [];
  const note = describeLost(proxy.unattributed, "connections and requests");
  return [`denied by the proxy since ${plainText(proxy.since, 40)}`, ...rows, ...note];
}

function rowsOf(totals: PlaneTotals): readonly string[] {
  return Object.entries(totals).flatMap(([plane, reasons]) =>
    Object.entries(reasons).map(([reason, count]) => `${String(count).padStart(10)}  ${plane}  ${reason}`),
  );
}

function describeLost(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${String(count).padStart(10)}  ${what} that no record counts`];
}

const counterTexts: { readonly [counter: string]: string } = {
  denied_forward: "from and to clients",
  denied_input: "to the gateway itself",
  denied_output: "sent by named or the gate to where they have no business",
  denied_source: "with a source that does not route back, or a route of their own",
  denied_bound: "with the source of a host that is elsewhere",
  over_limit: "over a limit of egress_kbps (dropped in silence, which is how senders slow down)",
  denied_invalid: "of no connection (dropped in silence)",
};

function describeCounters(counters: { readonly [name: string]: number } | null): readonly string[] {
  if (counters === null) return ["the kernel's counters cannot be read: are the rules loaded, and are you root?"];
  const rows = Object.entries(counters).map(
    ([name, packets]) => `${String(packets).padStart(10)}  ${counterTexts[name] ?? name}`,
  );
  return ["packets refused since the rules were first loaded", ...rows];
}

function describeRecords(summary: RecordSummary, path: string): readonly string[] {
  if (summary.lines === 0) return [`records: none in ${path}`];
  const { lines, denials, suppressed, from, to, damaged } = summary;
  const broken = damaged === 0 ? "" : `, ${damaged} lines damaged`;
  return [
    `records: ${lines} lines for ${denials} denials, ${suppressed} of them left out by the rate${broken}`,
    `         from ${plainText(from ?? "", 40)} to ${plainText(to ?? "", 40)} in ${path}`,
  ];
}

function describeTop(title: string, ranked: readonly Ranked[], by: "lines" | "denials"): readonly string[] {
  if (ranked.length === 0) return [];
  return [title, ...ranked.map((row) => `${String(row[by]).padStart(10)}  ${plainText(row.what, 120)}`)];
}
