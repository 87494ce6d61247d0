import { AgentError } from "../errors.ts";
import { type HttpResponse, openHttpClient } from "../host/http.ts";
import { retryAfterMs } from "../host/http-answer.ts";
import { readSecret } from "../host/secret-file.ts";
import { plainText } from "../plain-text.ts";
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

export interface ForgeOptions {
  /** Address of the API, without a slash at its end. */
  readonly api: string;
  readonly tokenFile: string;
  readonly caFile: string | null;
  readonly proxy: string | null;
  readonly dnsServers: readonly string[];
  readonly dnsPort: number;
  readonly nowMs: () => number;
}

/** How one kind of forge takes a commit status. */
export interface Forge {
  /** The section of agent.json, for messages: `report.<name>`. */
  readonly name: string;
  /** The word before the token in the Authorization header. */
  readonly scheme: string;
  readonly headers: { readonly [name: string]: string };
  path(commit: CommitId): string;
  body(context: string, status: Status): { readonly [field: string]: string };
  /** Returns whether an answer repeats what was posted. */
  repeats(answer: ForgeAnswer, status: Status): boolean;
  /** Returns what an answer means that only this forge gives, or null. */
  judge(status: number, text: string, posted: Status): Delivery | null;
}

export type ForgeAnswer = { readonly [key: string]: unknown };

const TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 256 * 1024;
/** A pause that is asked for without saying how long (secondary rate limits): at least a minute. */
const UNSPOKEN_WAIT_MS = 60_000;

/** Returns a client of a forge's commit statuses. @throws AgentError SETTINGS_INVALID for the API's address */
export function openForge(forge: Forge, options: ForgeOptions): StatusClient {
  const { api, tokenFile, caFile, proxy, dnsServers, dnsPort } = options;
  const authorize = async () => `${forge.scheme} ${await readSecret(tokenFile)}`;
  const http = openHttpClient({ baseUrl: api, caFile, proxy, dnsServers, dnsPort, authorize });
  return {
    post: async (commit, context, status, signal) => {
      try {
        const answer = await http.request({
          method: "POST",
          path: forge.path(commit),
          headers: { "user-agent": "clawgress", "content-type": "application/json", ...forge.headers },
          body: Buffer.from(JSON.stringify(forge.body(context, status)), "utf8"),
          timeoutMs: TIMEOUT_MS,
          maxBytes: MAX_ANSWER_BYTES,
          signal,
        });
        return judge(forge, answer, status, options.nowMs());
      } catch (error) {
        const reason = error instanceof AgentError ? `${error.code}: ${error.message}` : String(error);
        return { kind: "retry", reason, waitMs: null };
      }
    },
    close: () => http.close(),
  };
}

/** One status of the answer can mean several things; each has another remedy, so they are told apart here. */
function judge(forge: Forge, answer: HttpResponse, posted: Status, nowMs: number): Delivery {
  const { status, headers } = answer;
  const text = errorText(answer.body);
  const waitMs = retryAfterMs(headers, nowMs);
  const section = `report.${forge.name}`;
  const retry = (reason: string): Delivery => ({ kind: "retry", reason, waitMs });
  if (status === 201) {
    return forge.repeats(parseObject(answer.body), posted)
      ? { kind: "posted" }
      : retry("the answer 201 does not repeat the status");
  }
  if (status === 429 || (status === 403 && (waitMs !== null || /rate limit/i.test(text)))) {
    return { kind: "retry", reason: "the forge's rate limit is used up", waitMs: waitMs ?? UNSPOKEN_WAIT_MS };
  }
  if (status === 401) return retry(`the token is not valid (401): put a current one into ${section}.tokenFile`);
  if (status === 403) return retry(`the token may not write commit statuses (403): ${text}`);
  const special = forge.judge(status, text, posted);
  if (special !== null) return special;
  if (status === 404) {
    return retry(`no such repository, or the token may not see it (404): check ${section}.repository and the token`);
  }
  if (status === 422 || status === 400)
    return { kind: "drop", reason: `the forge refuses the status (${status}): ${text}` };
  if (status >= 300 && status < 400)
    return retry(`the forge redirects (${status}): check ${section}.api and repository`);
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
  return plainText([messageOf(answer), ...parts].join("; "), 200);
}

/** Some forges answer with a sentence, some with sentences by field. */
function messageOf({ message, error }: ForgeAnswer): string {
  const said = message ?? error;
  if (typeof said === "string") return said;
  return said === undefined || said === null ? "no message" : JSON.stringify(said).slice(0, 1_000);
}

function parseObject(body: Buffer): ForgeAnswer {
  try {
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    return typeof parsed === "object" && parsed !== null ? (parsed as ForgeAnswer) : {};
  } catch {
    return {};
  }
}

/** Returns the path of a repository `owner/name` with both names encoded. */
export function repositoryPath(repository: string): string {
  return repository.split("/").map(encodeURIComponent).join("/");
}
