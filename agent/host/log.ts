import { type Logger, pino } from "pino";

/**
 * Returns a log that writes one JSON line an event to standard output, at once: a crash loses nothing. Every line has an
 * `event` with a stable name. Level by CLAWGRESS_LOG (default `info`).
 */
export function createLog(part: "agent" | "gate" | "api", destination: 1 | 2 = 1): Logger {
  return pino(
    {
      level: process.env["CLAWGRESS_LOG"] ?? "info",
      base: { part },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: ["token", "authorization", "headers.authorization"],
    },
    pino.destination({ dest: destination, sync: true }),
  );
}
