import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import type { HttpClient, HttpRequest } from "../host/http.ts";
import { type HttpHead, retryAfterMs } from "../host/http-answer.ts";
import { plainText, redactUrl } from "../plain-text.ts";

const USER_AGENT = "git/clawgress";
const REQUEST_TYPE = "application/x-git-upload-pack-request";
const RESULT_TYPE = "application/x-git-upload-pack-result";
const ADVERTISEMENT_TYPE = "application/x-git-upload-pack-advertisement";

interface Limits {
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/** Sends one `git-upload-pack` request and returns the answer's bytes, or hands them to `onChunk`. @throws AgentError SOURCE_* */
export async function postUploadPack(
  http: HttpClient,
  body: Buffer,
  protocol: "v0" | "v2",
  limits: Limits & Pick<HttpRequest, "onChunk">,
): Promise<Buffer> {
  const answer = await http.request({
    method: "POST",
    path: "/git-upload-pack",
    headers: {
      "user-agent": USER_AGENT,
      // No Accept: servers have one answer to this, and a poll counts every byte.
      "content-type": REQUEST_TYPE,
      ...(protocol === "v2" ? { "git-protocol": "version=2" } : {}),
    },
    body,
    checkHead: (head) => requireGitAnswer(head, RESULT_TYPE, http.baseUrl),
    ...limits,
  });
  return answer.body;
}

/** Returns the server's advertisement; a server that speaks protocol v2 answers in that. @throws AgentError SOURCE_* */
export async function getAdvertisement(http: HttpClient, limits: Limits): Promise<Buffer> {
  const answer = await http.request({
    method: "GET",
    path: "/info/refs?service=git-upload-pack",
    headers: { "user-agent": USER_AGENT, accept: ADVERTISEMENT_TYPE, "git-protocol": "version=2" },
    checkHead: (head) => requireGitAnswer(head, ADVERTISEMENT_TYPE, http.baseUrl),
    ...limits,
  });
  return answer.body;
}

/** @throws AgentError for every answer that is not a 200 with Git's own media type. */
function requireGitAnswer(head: HttpHead, type: string, baseUrl: URL): void {
  const { status, headers } = head;
  const place = redactUrl(baseUrl);
  const contentType = headers["content-type"]?.split(";")[0]?.trim().toLowerCase() ?? "none";
  if (status === 200 && contentType === type) return;
  if (status === 200) {
    throw new AgentError("SOURCE_PROTOCOL", `${place} answered with ${plainText(contentType, 60)} instead of ${type}`, {
      remedy: "check that repository.url is a Git repository, and that no sign-in page or captive portal is in between",
      details: { contentType: plainText(contentType, 60) },
    });
  }
  if (status >= 300 && status < 400) {
    const target = headers["location"] === undefined ? "nowhere" : redactUrl(headers["location"], baseUrl);
    throw new AgentError("SOURCE_REDIRECT", `${place} redirects (${status}) to ${target}`, {
      remedy: "if the new place is right, write it into repository.url",
      details: { status, target },
    });
  }
  // 203 is how one forge shows its sign-in page to a program.
  if (status === 401 || status === 403 || status === 203) {
    throw new AgentError("SOURCE_AUTH", `${place} refused the credentials (${status})`, {
      remedy: "check repository.tokenFile: is the token current, and may it read this repository?",
      details: { status },
    });
  }
  const waitMs = retryAfterMs(headers, nowMs());
  throw new AgentError("SOURCE_HTTP", `${place} answered ${status}`, {
    ...(status === 404 ? { remedy: "check repository.url; forges also say 404 when the token may not read it" } : {}),
    details: { status, ...(waitMs === null ? {} : { retryAfterMs: waitMs }) },
  });
}
