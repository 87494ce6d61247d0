import type { HttpClient as GitHttpPlugin, GitHttpRequest, GitHttpResponse } from "isomorphic-git";
import { AgentError } from "../errors.ts";
import type { HttpClient } from "../host/http.ts";
import { encodeAdvertisement } from "./advertisement.ts";
import { postUploadPack } from "./git-server.ts";
import { checkPack, type PackLimits } from "./pack-check.ts";
import type { CommitId } from "./source.ts";
import { createUploadPackReader, encodeUploadPackAnswer } from "./upload-pack.ts";

export interface FetchPlan {
  readonly commit: CommitId;
  /** The local name of the branch that the Git library is told. */
  readonly branch: string;
  readonly timeoutMs: number;
  readonly maxPackBytes: number;
  readonly packLimits: PackLimits;
  readonly signal: AbortSignal;
}

const MAX_REQUEST_BYTES = 1024 * 1024;

/**
 * Returns the HTTP plugin for one fetch by isomorphic-git. Discovery is answered here, from the polled commit; the one
 * request that goes out is the fetch, and its answer is passed on only after framing, trailer and every object of the
 * pack were checked: the library writes references before it looks at the pack and bounds nothing.
 * @throws AgentError SOURCE_*
 */
export function createGitHttp(http: HttpClient, plan: FetchPlan): GitHttpPlugin {
  const fetchPack = async (request: GitHttpRequest): Promise<Iterable<Buffer>> => {
    const reader = createUploadPackReader(plan.maxPackBytes);
    await postUploadPack(http, await collect(request.body), "v0", {
      timeoutMs: plan.timeoutMs,
      // The pack in side-band packets of any size, and progress lines that are thrown away.
      maxBytes: plan.maxPackBytes + Math.ceil(plan.maxPackBytes / 8) + 1024 * 1024,
      signal: plan.signal,
      onChunk: reader.push,
    });
    const answer = reader.finish();
    checkPack(answer.pack, plan.packLimits);
    return encodeUploadPackAnswer(answer);
  };
  return {
    request: async (request) => {
      const isDiscovery = request.method === "GET" && request.url.endsWith("/info/refs?service=git-upload-pack");
      if (isDiscovery) return respond(request, "advertisement", [encodeAdvertisement(plan.branch, plan.commit)]);
      if (request.method === "POST" && request.url.endsWith("/git-upload-pack")) {
        return respond(request, "result", await fetchPack(request));
      }
      throw new AgentError("SOURCE_PROTOCOL", "the Git library asked for something that is not a fetch");
    },
  };
}

function respond(request: GitHttpRequest, kind: "advertisement" | "result", chunks: Iterable<Buffer>): GitHttpResponse {
  return {
    url: request.url,
    method: request.method ?? "GET",
    headers: { "content-type": `application/x-git-upload-pack-${kind}` },
    statusCode: 200,
    statusMessage: "OK",
    body: iterate(chunks),
  };
}

async function* iterate(chunks: Iterable<Buffer>): AsyncGenerator<Uint8Array, void, void> {
  yield* chunks;
}

async function collect(body: GitHttpRequest["body"]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let totalBytes = 0;
  for await (const chunk of body ?? []) {
    totalBytes += chunk.length;
    if (totalBytes > MAX_REQUEST_BYTES)
      throw new AgentError("SOURCE_TOO_LARGE", "the request of the fetch is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
