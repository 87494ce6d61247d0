import type { DecisionKey, DecisionRow } from "../decisions/decision.ts";
import type { Json } from "../errors.ts";
import { sleepMs } from "../host/clock.ts";
import { plainText } from "../plain-text.ts";
import { pathsOf } from "../settings/paths.ts";
import { createTelemetryClient } from "./ask-telemetry.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

export interface WatchOptions extends WatchFilter {
  readonly config: string;
  /** Ends after so many lines. */
  readonly count?: number;
}

export interface WatchFilter {
  readonly agent?: string;
  readonly name?: string;
  readonly reason?: string;
  readonly label?: string;
  readonly verdict?: string;
  readonly plane?: string;
}

const POLL_MS = 500;

/**
 * Shows decisions as they are made, equal ones of a second as one, until it is interrupted. With --json each is a JSON
 * document on a line. Returns 0. @throws AgentError API_UNREACHABLE
 */
export async function watchDecisions(options: WatchOptions, output: Output): Promise<number> {
  const client = createTelemetryClient(pathsOf(await loadSettings(options.config)).apiSocket);
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let { position } = await client.watch(null);
  output.note("decisions from now on; end with Ctrl-C");
  while (!stop.signal.aborted && left > 0) {
    const seen = await client.watch(position);
    position = seen.position;
    if (seen.missed > 0) output.note(`… ${seen.missed} left out: too many at once`);
    for (const row of seen.rows.filter(({ key }) => isWanted(options, key)).slice(0, left)) {
      left -= 1;
      output.line(describeRow(row));
      output.lineDocument(row as unknown as Json);
    }
    await sleepMs(POLL_MS, stop.signal).catch(() => {
      // Interrupted: the loop's condition ends it.
    });
  }
  return 0;
}

/** Returns whether a decision passes every filter that is given; a name passes for its subdomains, too. */
export function isWanted({ agent, name, reason, label, verdict, plane }: WatchFilter, key: DecisionKey): boolean {
  const same = (wanted: string | undefined, is: string | null): boolean => wanted === undefined || wanted === is;
  const isAgent = agent === undefined || agent === key.host || agent === key.client;
  const isName = name === undefined || key.name === name || key.name?.endsWith(`.${name}`) === true;
  return (
    isAgent &&
    isName &&
    same(reason, key.reason) &&
    same(label, key.label) &&
    same(verdict, key.verdict) &&
    same(plane, key.plane)
  );
}

/** Returns a row as a line for people. */
export function describeRow({ atS, key, count, bytesUp, bytesDown }: DecisionRow): string {
  const { plane, verdict, reason, client, host, name, type, destination, port, protocol, label } = key;
  const who = host === null ? (client ?? "?") : `${host} (${client ?? "?"})`;
  const flow = [destination, port].filter((part) => part !== null).join(":");
  const what = [name, type, flow === "" ? null : `${flow}/${protocol ?? "?"}`].filter((part) => part !== null);
  const times = count === 1 ? "" : ` ×${count}`;
  const bytes = bytesUp + bytesDown === 0 ? "" : `  ${bytesUp} B up, ${bytesDown} B down`;
  const tag = label === null ? "" : `  [${label}]`;
  const time = new Date(atS * 1000).toISOString().slice(11, 19);
  const text = `${time}  ${verdict.padEnd(10)} ${plane.padEnd(4)} ${who} → ${what.join(" ")}  ${reason}${times}${bytes}${tag}`;
  return plainText(text, 500);
}
