import type { StoreState } from "../decisions/store.ts";
import { isTelemetryView, isTelemetryWindow, type Telemetry, type TelemetryQuery } from "../decisions/telemetry.ts";
import type { Watchers } from "../decisions/watch.ts";
import { AgentError } from "../errors.ts";
import { type SocketServer, serveSocket } from "../host/socket-server.ts";

export interface TelemetryParts {
  readonly telemetry: (query: TelemetryQuery, isRedacted: boolean) => Promise<Telemetry>;
  readonly watchers: Watchers;
  readonly state: () => StoreState;
}

/** Serves the command line: `telemetry`, `stats` and `watch` ask here. Only root and the API's own user may. @throws AgentError HOST_FILE */
export async function serveTelemetry(socketPath: string, parts: TelemetryParts): Promise<SocketServer> {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  return await serveSocket(socketPath, {
    ...{ uid, gid, maxBodyBytes: 1024 },
    answer: async (call, query) => {
      switch (call) {
        case "GET /telemetry":
          return await parts.telemetry(queryOf(query), query.get("redact") === "true");
        case "GET /watch": {
          const since = query.get("since");
          return parts.watchers.since(since === null ? null : Number(since));
        }
        case "GET /state":
          return parts.state();
        default:
          throw new AgentError("USAGE", `there is no call ${call.slice(0, 100)}`);
      }
    },
  });
}

function queryOf(query: URLSearchParams): TelemetryQuery {
  const [view, window] = [query.get("view") ?? "", query.get("window") ?? ""];
  if (isTelemetryView(view) && isTelemetryWindow(window)) {
    return { view, window, target: query.get("target"), allRows: query.get("rows") === "all" };
  }
  throw new AgentError("USAGE", "there is no such view or window");
}
