import { AgentError } from "../errors.ts";
import { type HttpClient, type HttpResponse, openHttpClient } from "../host/http.ts";
import { retryAfterMs } from "../host/http-answer.ts";
import { readSecret } from "../host/secret-file.ts";
import { plainText } from "../plain-text.ts";
import type { GithubSettings } from "../settings/settings.ts";
import type { CommitId } from "../source/source.ts";
import type { Status } from "./describe.ts";

/** What became of one attempt. */
export type Delivery =
  | { readonly kind: "posted" }
  /** Worth another attempt; `waitMs` when the forge asks for a pause, which then holds for every status. */
  | { readonly kind: "retry"; readonly reason: string; readonly waitMs: number | null }
  /** No attempt will ever succeed. */
  | { readonly kind: "drop"; readonly reason: string };

export interface StatusClient {
  /** Posts one commit status and returns how that went; never throws. */
  post(commit: CommitId, context: string, status: Status, signal: AbortSignal): Promise<Delivery>;
  close(): Promise<void>;
}

export interface GithubOptions {
  readonly settings: GithubSettings;
  readonly proxy: string | null;
  readonly dnsServers: readonly string[];
  readonly dnsPort: number;
  readonly nowMs: () => number;
}

const TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 256 * 1024;
/** A pause that GitHub asks for without saying how long (secondary rate limits): at least a minute. */
const UNSPOKEN_WAIT_MS = 60_000;

/**
 * Returns a client of GitHub's commit statuses: POST /repos/{owner}/{repo}/statuses/{sha} (REST API version 2022-11-28).
 * @throws AgentError SETTINGS_INVALID for the API's address
 */
export function openGithub(options: GithubOptions): StatusClient {
  const { api, repository, tokenFile, caFile } = options.settings;
  const http = openHttpClient({
    baseUrl: api,
    caFile,
    proxy: options.proxy,
    dnsServers: options.dnsServers,
    dnsPort: options.dnsPort,
    authorize: async () => `Bearer ${await readSecret(tokenFile)}`,
  });
  const [owner = "", name = ""] = repository.split("/");
  const path = `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}/statuses/`;
  return {
    post: async (commit, context, status, signal) => {
      try {
        const answer = await send(http, `${path}${commit}`, { ...status, context }, signal);
        return judge(answer, status.state, options.nowMs());
      } catch (error) {
        const reason = error instanceof AgentError ? `${error.code}: ${error.message}` : String(error);
        return { kind: "retry", reason, waitMs: null };
      }
    },
    close: () => http.close(),
  };
}

async function send(http: HttpClient, path: string, body: object, signal: AbortSignal): Promise<HttpResponse> {
  return await http.request({
    method: "POST",
    path,
    headers: {
      "user-agent": "clawgress",
      accept: "application/vnd.github+json",
      "content-type": "application/json",
      "x-github-api-version": "2022-11-28",
    },
    body: Buffer.from(JSON.stringify(body), "utf8"),
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_ANSWER_BYTES,
    signal,
  });
}

/** One status of the answer can mean several things; each has another remedy, so they are told apart here. */
function judge(answer: HttpResponse, state: Status["state"], nowMs: number): Delivery {
  const { status, headers } = answer;
  const text = errorText(answer.body);
  const waitMs = retryAfterMs(headers, nowMs);
  const retry = (reason: string): Delivery => ({ kind: "retry", reason, waitMs });
  if (status === 201) {
    return acceptedState(answer.body) === state
      ? { kind: "posted" }
      : retry("the answer 201 does not repeat the status");
  }
  if (status === 429 || (status === 403 && (waitMs !== null || /rate limit/i.test(text)))) {
    return { kind: "retry", reason: "the forge's rate limit is used up", waitMs: waitMs ?? UNSPOKEN_WAIT_MS };
  }
  if (status === 401) return retry("the token is not valid (401): put a current one into report.github.tokenFile");
  if (status === 403) return retry(`the token may not write commit statuses (403): ${text}`);
  if (status === 404) {
    return retry("no such repository, or the token may not see it (404): check report.github.repository and the token");
  }
  if (status === 422 && /no commit found/i.test(text)) {
    return retry(
      "the forge does not know the commit (422): is report.github.repository the repository that is polled?",
    );
  }
  if (status === 422 && /maximum number of statuses/i.test(text)) {
    return { kind: "drop", reason: "the commit has the maximum number of statuses for this context (422)" };
  }
  if (status === 422 || status === 400)
    return { kind: "drop", reason: `the forge refuses the status (${status}): ${text}` };
  if (status >= 300 && status < 400)
    return retry(`the forge redirects (${status}): check report.github.api and repository`);
  return retry(`the forge answered ${status}`);
}

/** Returns the message of an error answer with those of its parts, as plain text. */
function errorText(body: Buffer): string {
  const answer = parseObject(body);
  const errors = Array.isArray(answer["errors"]) ? answer["errors"].slice(0, 5) : [];
  const parts = errors.map((error: unknown) => {
    if (typeof error === "string") return error;
    const { field, code, message } = (error ?? {}) as { [key: string]: unknown };
    return [field, message ?? code].filter((part) => typeof part === "string").join(" ");
  });
  const message = typeof answer["message"] === "string" ? answer["message"] : "no message";
  return plainText([message, ...parts].join("; "), 200);
}

function acceptedState(body: Buffer): unknown {
  return parseObject(body)["state"];
}

function parseObject(body: Buffer): { readonly [key: string]: unknown } {
  try {
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    return typeof parsed === "object" && parsed !== null ? (parsed as { [key: string]: unknown }) : {};
  } catch {
    return {};
  }
}
