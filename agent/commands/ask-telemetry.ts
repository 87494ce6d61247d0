import type { StoreState } from "../decisions/store.ts";
import type { Telemetry, TelemetryQuery } from "../decisions/telemetry.ts";
import type { WatchedRows } from "../decisions/watch.ts";
import { callSocketJson } from "../host/socket-call.ts";

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/** What the process that keeps the decisions tells. Each call throws AgentError API_UNREACHABLE, too. */
export interface TelemetryCalls {
  telemetry(query: TelemetryQuery, isRedacted: boolean): Promise<Telemetry>;
  watch(since: number | null): Promise<WatchedRows>;
  state(): Promise<StoreState>;
}

/** Returns the process behind its socket. */
export function createTelemetryClient(socketPath: string): TelemetryCalls {
  const call = async (path: string, query: URLSearchParams): Promise<unknown> =>
    await callSocketJson(socketPath, {
      method: "GET",
      path: `${path}?${query}`,
      ...{ timeoutMs: TIMEOUT_MS, maxAnswerBytes: MAX_ANSWER_BYTES, whom: "the process of the API" },
      unreachable: "API_UNREACHABLE",
    });
  return {
    telemetry: async ({ view, target, window, allRows = false }, isRedacted) => {
      const query = new URLSearchParams({ view, window, redact: String(isRedacted), rows: allRows ? "all" : "top" });
      if (target !== null) query.set("target", target);
      return (await call("/telemetry", query)) as Telemetry;
    },
    watch: async (since) =>
      (await call("/watch", new URLSearchParams(since === null ? {} : { since: String(since) }))) as WatchedRows,
    state: async () => (await call("/state", new URLSearchParams())) as StoreState,
  };
}
