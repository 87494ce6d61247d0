import { AgentError, type Code } from "../errors.ts";
import { plainText, redactUrl } from "../plain-text.ts";

export interface HttpHead {
  readonly status: number;
  /** Lower-case names; repeated headers joined by `, `. */
  readonly headers: { readonly [name: string]: string };
}

/** Returns headers with one text per name. */
export function headersOf(raw: { readonly [name: string]: string | string[] | undefined }): HttpHead["headers"] {
  const headers: { [name: string]: string } = Object.create(null);
  for (const [name, value] of Object.entries(raw)) {
    if (value !== undefined) headers[name.toLowerCase()] = Array.isArray(value) ? value.join(", ") : value;
  }
  return headers;
}

/**
 * Returns how long the server asks to wait, in milliseconds from `nowMs` and at most a day, or null when it does not ask:
 * `Retry-After` as seconds or date (RFC 9110 §10.2.3), else `x-ratelimit-reset` (epoch seconds) when nothing remains.
 */
export function retryAfterMs(headers: HttpHead["headers"], nowMs: number): number | null {
  const dayMs = 86_400_000;
  const after = headers["retry-after"]?.trim();
  if (after !== undefined && /^\d{1,9}$/.test(after)) return Math.min(dayMs, Number(after) * 1000);
  const date = after === undefined ? Number.NaN : Date.parse(after);
  if (!Number.isNaN(date)) return Math.min(dayMs, Math.max(0, date - nowMs));
  const reset = headers["x-ratelimit-reset"];
  if (headers["x-ratelimit-remaining"] !== "0" || reset === undefined || !/^\d{1,12}$/.test(reset)) return null;
  return Math.min(dayMs, Math.max(0, Number(reset) * 1000 - nowMs));
}

interface FailureRow {
  readonly code: Code;
  readonly remedy?: string;
}

const tls: FailureRow = {
  code: "SOURCE_UNREACHABLE",
  remedy: "check the server's certificate, or name its authority in caFile",
};

/** Codes of Node and undici that say more than 'unreachable'. */
const failures: { readonly [code: string]: FailureRow } = {
  UND_ERR_HEADERS_TIMEOUT: { code: "SOURCE_TIMEOUT" },
  UND_ERR_CONNECT_TIMEOUT: { code: "SOURCE_TIMEOUT" },
  ETIMEDOUT: { code: "SOURCE_TIMEOUT" },
  UND_ERR_HEADERS_OVERFLOW: { code: "SOURCE_TOO_LARGE" },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: { code: "SOURCE_PROTOCOL" },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: tls,
  UNABLE_TO_GET_ISSUER_CERT: tls,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: tls,
  SELF_SIGNED_CERT_IN_CHAIN: tls,
  DEPTH_ZERO_SELF_SIGNED_CERT: tls,
  CERT_HAS_EXPIRED: tls,
  ERR_TLS_CERT_ALTNAME_INVALID: tls,
  ERR_TLS_KEY_NOT_PINNED: {
    code: "SOURCE_UNREACHABLE",
    remedy: "somebody else may be answering; if the server's key was changed on purpose, add the new one to pinnedKeys",
  },
};

/** Returns the AgentError for whatever the HTTP library threw; the address in it is redacted. */
export function toHttpError(error: unknown, baseUrl: URL): AgentError {
  if (error instanceof AgentError) return error;
  const reason = reasonOf(error);
  const nodeCode = (error as NodeJS.ErrnoException | null)?.code ?? "";
  const isParserError = nodeCode.startsWith("HPE_") || (error instanceof Error && error.name === "HTTPParserError");
  const proxyStatus = /^Proxy response \((\d{3})\)/.exec(reason)?.[1];
  const row: FailureRow = isParserError
    ? { code: "SOURCE_PROTOCOL" }
    : proxyStatus === "407"
      ? { code: "SOURCE_AUTH", remedy: "put the proxy's user and password into the proxy setting" }
      : (failures[nodeCode] ?? { code: "SOURCE_UNREACHABLE" });
  return new AgentError(row.code, `${redactUrl(baseUrl)}: ${plainText(reason, 200)}`, {
    ...(row.remedy === undefined ? {} : { remedy: row.remedy }),
    ...(nodeCode === "" ? {} : { details: { cause: nodeCode } }),
    cause: error,
  });
}

/** Several addresses tried give an AggregateError without a message of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}
