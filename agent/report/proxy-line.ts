import type { ProxyDetails } from "../gate/deny-record.ts";
import { type Reason, reasons } from "../policy/reasons.ts";

/** A decision of the proxy, as it lies in its ring. */
export interface ProxyLine {
  readonly atMs: number;
  readonly plane: "tls" | "http";
  readonly verdict: "allow" | "deny";
  readonly reason: Reason;
  readonly client: string;
  readonly group: string | null;
  /** As the client wrote it. */
  readonly name: string | null;
  readonly address: string | null;
  readonly commit: string | null;
  readonly serial: number | null;
  readonly proxy: ProxyDetails;
}

const idPattern = /^[0-9a-f-]{36}$/;
const MAX_NAME_LENGTH = 1024;

/**
 * Returns the decision of a line of the proxy, or null when it is none. `-` means nothing. What was allowed but not
 * connected says so; a request that no rule has seen was none.
 */
export function parseProxyLine(text: string): ProxyLine | null {
  const line = parseObject(text);
  if (line === null) return null;
  const { id, at, plane, client, clientPort, bytesUp, bytesDown, connectMs, ms, status } = line;
  if (typeof id !== "string" || !idPattern.test(id) || typeof client !== "string") return null;
  if (plane !== "tls" && plane !== "http") return null;
  const written = textOf(line["reason"]) ?? "http-malformed";
  const reason = written === "allowed" && connectMs === -1 ? "connect-failed" : written;
  if (!isReason(reason) || typeof at !== "number") return null;
  const serial = textOf(line["serial"]);
  return {
    ...{ atMs: at, plane, reason, client },
    verdict: reason === "allowed" || reason === "connect-failed" ? "allow" : "deny",
    group: textOf(line["group"]),
    name: textOf(line["name"])?.slice(0, MAX_NAME_LENGTH) ?? null,
    address: textOf(line["address"]),
    commit: textOf(line["commit"]),
    serial: serial !== null && /^[0-9]{1,15}$/.test(serial) ? Number(serial) : null,
    proxy: {
      id,
      ...{ clientPort: numberOf(clientPort), status: typeof status === "number" ? status : null },
      ...{ bytesUp: numberOf(bytesUp), bytesDown: numberOf(bytesDown) },
      ...{ connectMs: numberOf(connectMs), ms: numberOf(ms) },
      end: textOf(line["end"]),
      ech: textOf(line["ech"]) !== null,
    },
  };
}

function parseObject(text: string): { readonly [key: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as { readonly [key: string]: unknown }) : null;
  } catch {
    return null;
  }
}

function isReason(text: string): text is Reason {
  return Object.hasOwn(reasons, text);
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "-" && value !== "--" ? value : null;
}

function numberOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
