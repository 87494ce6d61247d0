import { AgentError } from "../errors.ts";
import { type HttpClient, openHttpClient } from "../host/http.ts";
import { readSecret } from "../host/secret-file.ts";
import { redactUrl } from "../plain-text.ts";
import type { RemoteSettings } from "../settings/settings.ts";
import { headOf, parseAdvertisement } from "./advertisement.ts";
import { getAdvertisement, postUploadPack } from "./git-server.ts";
import { encodeLsRefs, parseLsRefs } from "./ls-refs.ts";
import type { CommitId } from "./source.ts";

/** One Git server that carries the repository. */
export interface Remote {
  /** Its address, fit for logs. */
  readonly place: string;
  readonly http: HttpClient;
  /** Returns the head of the branch. @throws AgentError SOURCE_* */
  poll(signal: AbortSignal): Promise<CommitId>;
}

export interface RemoteOptions {
  readonly branch: string;
  readonly timeoutMs: number;
  /** Resolvers to ask for the forge's name; empty for the system's lookup. */
  readonly dnsServers: readonly string[];
  readonly dnsPort: number;
}

const MAX_POLL_BYTES = 1024 * 1024;
/** A server without protocol v2 lists every reference there is. */
const MAX_ADVERTISEMENT_BYTES = 16 * 1024 * 1024;

/** Returns a remote. Nothing is sent before the first poll. @throws AgentError SETTINGS_INVALID for the URL */
export function openRemote(settings: RemoteSettings, options: RemoteOptions): Remote {
  const { tokenFile, username } = settings;
  const { branch, timeoutMs } = options;
  const http = openHttpClient({
    baseUrl: settings.url,
    caFile: settings.caFile,
    pinnedKeys: settings.pinnedKeys,
    proxy: settings.proxy,
    dnsServers: options.dnsServers,
    dnsPort: options.dnsPort,
    authorize: async () => {
      if (tokenFile === null) return null;
      return `Basic ${Buffer.from(`${username}:${await readSecret(tokenFile)}`, "utf8").toString("base64")}`;
    },
  });
  let protocol: "v2" | "v0" = "v2";

  const pollV2 = async (signal: AbortSignal): Promise<CommitId> => {
    const limits = { timeoutMs, maxBytes: MAX_POLL_BYTES, signal };
    return parseLsRefs(await postUploadPack(http, encodeLsRefs(branch), "v2", limits), branch);
  };
  /** Returns the head by the long way, or null when the server speaks v2 and the short way is the right one. */
  const pollV0 = async (signal: AbortSignal): Promise<CommitId | null> => {
    const limits = { timeoutMs, maxBytes: MAX_ADVERTISEMENT_BYTES, signal };
    const advertisement = parseAdvertisement(await getAdvertisement(http, limits));
    return advertisement.version === 2 ? null : headOf(advertisement, branch);
  };
  return {
    place: redactUrl(http.baseUrl),
    http,
    poll: async (signal) => {
      if (protocol === "v0") {
        const head = await pollV0(signal);
        if (head !== null) return head;
        protocol = "v2";
      }
      try {
        return await pollV2(signal);
      } catch (error) {
        if (!mayMeanOldProtocol(error)) throw error;
        // Asking which protocol it speaks tells an old server, or SHA-256, from a broken answer.
        const head = await pollV0(signal).catch((second: unknown) => {
          throw second instanceof AgentError && isPositive(second) ? second : error;
        });
        if (head === null) throw error;
        protocol = "v0";
        return head;
      }
    },
  };
}

/** A server that does not know the request: it answers with an error status or something that is no list of branches. */
function mayMeanOldProtocol(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  return error.code === "SOURCE_PROTOCOL" || (error.code === "SOURCE_HTTP" && error.details["status"] !== 404);
}

function isPositive(error: AgentError): boolean {
  return error.code === "SOURCE_UNSUPPORTED" || error.code === "SOURCE_NO_BRANCH";
}
