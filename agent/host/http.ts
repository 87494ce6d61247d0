import { createHash, X509Certificate } from "node:crypto";
import { stat } from "node:fs/promises";
import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";
import { Agent, buildConnector, type Dispatcher, ProxyAgent, Socks5ProxyAgent, request as sendRequest } from "undici";
import { AgentError } from "../errors.ts";
import { plainText, redactUrl } from "../plain-text.ts";
import { readFileBytes } from "./files.ts";
import { type HttpHead, headersOf, toHttpError } from "./http-answer.ts";
import { createLookup } from "./names.ts";

export interface HttpSettings {
  /** All requests go below this address: no other origin ever sees a credential. */
  readonly baseUrl: string;
  /** PEM file of the only authorities to believe; null for the system's. Read again when it changes. */
  readonly caFile: string | null;
  /** `sha256/…` of the keys that the server may have, besides a valid certificate; missing or empty: any. */
  readonly pinnedKeys?: readonly string[];
  /** `http://…` or `https://…` of a CONNECT proxy, or `socks5://…`; null to go straight, whatever the environment says. */
  readonly proxy: string | null;
  /** Resolvers to ask for the server's (or the proxy's) name; empty for the system's lookup. */
  readonly dnsServers: readonly string[];
  readonly dnsPort: number;
  /** Returns the Authorization header, or null; asked anew for each request. */
  readonly authorize: () => Promise<string | null>;
}

export interface HttpRequest {
  readonly method: "GET" | "POST";
  /** Appended to the path of the base address: `/info/refs?service=git-upload-pack`. */
  readonly path: string;
  readonly headers: { readonly [name: string]: string };
  readonly body?: Buffer;
  /** For everything together: name, connection, headers, body. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** Sees status and headers before the body is read; what it throws ends the request. */
  readonly checkHead?: (head: HttpHead) => void;
  /** Takes the body piece by piece; without it the body is returned whole. What it throws ends the request. */
  readonly onChunk?: (chunk: Buffer) => void;
}

export interface HttpResponse extends HttpHead {
  readonly body: Buffer;
}

export interface HttpClient {
  readonly baseUrl: URL;
  /**
   * Returns the answer whatever its status is; redirects are not followed and no content coding is negotiated.
   * @throws AgentError SOURCE_UNREACHABLE, SOURCE_TIMEOUT, SOURCE_TOO_LARGE, SOURCE_PROTOCOL, SOURCE_AUTH (the proxy's)
   */
  request(request: HttpRequest): Promise<HttpResponse>;
  close(): Promise<void>;
}

const MAX_CA_BYTES = 1024 * 1024;
/** After the headers, at least this many bytes arrive in every window: the total deadline alone lets a trickle sit. */
const PROGRESS_WINDOW_MS = 10_000;
const PROGRESS_MIN_BYTES = 1_000;

/** Returns the one client of a server: keep-alive, every limit per request. @throws AgentError SETTINGS_INVALID */
export function openHttpClient(settings: HttpSettings): HttpClient {
  const baseUrl = parseBaseUrl(settings.baseUrl);
  const lookup = createLookup(settings.dnsServers, settings.dnsPort);
  let current: { readonly key: string; readonly dispatcher: Dispatcher } | null = null;

  /** Makes a new dispatcher when the file of authorities is another one than at the last request. */
  const dispatcher = async (): Promise<Dispatcher> => {
    const key = settings.caFile === null ? "" : await fileKey(settings.caFile);
    if (current?.key === key) return current.dispatcher;
    const ca = settings.caFile === null ? {} : { ca: await readFileBytes(settings.caFile, MAX_CA_BYTES) };
    const connect = { lookup, timeout: 10_000, autoSelectFamily: true, ...ca, ...checkPins(settings.pinnedKeys ?? []) };
    const options = { connections: 1, pipelining: 1, bodyTimeout: 0, maxHeaderSize: 16_384 };
    const made = makeDispatcher(settings.proxy, options, connect);
    const old = current?.dispatcher;
    current = { key, dispatcher: made };
    // Requests under way end on the old connections.
    old?.close().catch(() => {});
    return made;
  };

  return {
    baseUrl,
    request: async (request) => {
      const deadline = startDeadline(request, baseUrl);
      try {
        const authorization = await settings.authorize();
        const headers = { ...request.headers, ...(authorization === null ? {} : { authorization }) };
        return await exchange(await dispatcher(), baseUrl, { ...request, headers }, deadline);
      } catch (error) {
        throw deadline.signal.aborted ? deadline.signal.reason : toHttpError(error, baseUrl);
      } finally {
        deadline.stop();
      }
    },
    close: async () => {
      await current?.dispatcher.destroy();
    },
  };
}

function makeDispatcher(
  proxy: string | null,
  options: ProxyAgent.Options | Agent.Options,
  connect: buildConnector.BuildOptions & TlsChecks,
): Dispatcher {
  if (proxy === null) return new Agent({ ...(options as Agent.Options), connect });
  if (!proxy.startsWith("socks5:")) {
    const { checkServerIdentity: _ofServer, ...proxyTls } = connect;
    return new ProxyAgent({ ...(options as ProxyAgent.Options), uri: proxy, requestTls: connect, proxyTls });
  }
  // The name goes to the proxy as it is; the connection to the proxy itself is plain.
  const { ca, checkServerIdentity: check, ...plain } = connect;
  const checks = {
    ...(ca === undefined ? {} : { ca }),
    ...(check === undefined ? {} : { checkServerIdentity: check }),
  };
  const requestTls = Object.keys(checks).length === 0 ? {} : { requestTls: checks };
  return new Socks5ProxyAgent(proxy, { ...(options as Agent.Options), ...requestTls, connect: buildConnector(plain) });
}

/** How the server's certificate is judged besides what TLS does by itself. */
interface TlsChecks {
  readonly ca?: Buffer;
  readonly checkServerIdentity?: typeof checkServerIdentity;
}

/** A name that its certificate does not have is refused before its key is looked at (RFC 7469 §2.4 has the form of a pin). */
function checkPins(pins: readonly string[]): Pick<TlsChecks, "checkServerIdentity"> {
  if (pins.length === 0) return {};
  return {
    checkServerIdentity: (name, certificate) => {
      const wrong = checkServerIdentity(name, certificate);
      if (wrong !== undefined) return wrong;
      const key = new X509Certificate(certificate.raw).publicKey.export({ type: "spki", format: "der" });
      const pin = `sha256/${createHash("sha256").update(key).digest("base64")}`;
      if (pins.includes(pin)) return undefined;
      return Object.assign(new Error(`the server's key ${pin} is none of pinnedKeys`), {
        code: "ERR_TLS_KEY_NOT_PINNED",
      });
    },
  };
}

/** https everywhere; http only where the address itself spells loopback. */
function parseBaseUrl(text: string): URL {
  const refuse = (why: string): never => {
    throw new AgentError("SETTINGS_INVALID", `${redactUrl(text)} ${why}`, {
      remedy: "write an https:// address without user and password",
    });
  };
  if (!URL.canParse(text)) return refuse("is not an absolute URL");
  const url = new URL(text);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const isLoopback = host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
  if (url.username !== "" || url.password !== "") return refuse("carries a user or password");
  if (url.search !== "" || url.hash !== "") return refuse("carries a query or fragment");
  if (url.protocol === "https:" || (url.protocol === "http:" && isLoopback)) return url;
  return refuse("is neither https nor http on loopback");
}

async function fileKey(path: string): Promise<string> {
  try {
    const info = await stat(path, { bigint: true });
    return `${info.dev}:${info.ino}:${info.size}:${info.mtimeNs}`;
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot read the authorities ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

interface Deadline {
  readonly signal: AbortSignal;
  abort(error: AgentError): void;
  stop(): void;
}

/**
 * One controller for the caller's signal, the total time and the rate. (`AbortSignal.any` over `AbortSignal.timeout`
 * is collected as garbage by Node 20 and then never fires.)
 */
function startDeadline(request: HttpRequest, baseUrl: URL): Deadline {
  const controller = new AbortController();
  const abort = (error: AgentError): void => controller.abort(error);
  const late = `${redactUrl(baseUrl)} did not answer completely within ${request.timeoutMs} ms`;
  const timer = setTimeout(() => abort(new AgentError("SOURCE_TIMEOUT", late)), request.timeoutMs);
  const onAbort = (): void => {
    const cause: unknown = request.signal.reason;
    abort(
      new AgentError("SOURCE_TIMEOUT", `the request to ${redactUrl(baseUrl)} was given up by its caller`, { cause }),
    );
  };
  if (request.signal.aborted) onAbort();
  request.signal.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    abort,
    stop: () => {
      clearTimeout(timer);
      request.signal.removeEventListener("abort", onAbort);
    },
  };
}

/** A kept connection that the server closed just now is no news about the server: such a request goes out once more. */
function isStaleConnection(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

async function exchange(
  dispatcher: Dispatcher,
  baseUrl: URL,
  request: HttpRequest,
  deadline: Deadline,
): Promise<HttpResponse> {
  const send = (): Promise<Dispatcher.ResponseData> =>
    sendRequest(`${baseUrl.origin}${baseUrl.pathname.replace(/\/+$/, "")}${request.path}`, {
      dispatcher,
      method: request.method,
      headers: { ...request.headers },
      body: request.body ?? null,
      signal: deadline.signal,
      headersTimeout: request.timeoutMs,
    });
  const answer = await send().catch((error: unknown) => {
    if (deadline.signal.aborted || !isStaleConnection(error)) throw error;
    return send();
  });
  // A destroyed body reports its end as an error event; without a listener the process would die of it.
  answer.body.on("error", () => {});
  try {
    const head: HttpHead = { status: answer.statusCode, headers: headersOf(answer.headers) };
    const coding = head.headers["content-encoding"];
    if (coding !== undefined && coding !== "identity") {
      throw new AgentError("SOURCE_PROTOCOL", `${redactUrl(baseUrl)} answered in the coding ${plainText(coding, 20)}`);
    }
    request.checkHead?.(head);
    return { ...head, body: await readBody(answer.body, baseUrl, request, deadline) };
  } finally {
    if (!answer.body.readableEnded) answer.body.destroy();
  }
}

async function readBody(
  body: AsyncIterable<Buffer>,
  baseUrl: URL,
  request: HttpRequest,
  deadline: Deadline,
): Promise<Buffer> {
  const kept: Buffer[] = [];
  let totalBytes = 0;
  let windowBytes = 0;
  const pace = setInterval(() => {
    if (windowBytes < PROGRESS_MIN_BYTES) {
      const slow = `${redactUrl(baseUrl)} sent ${windowBytes} bytes in ${PROGRESS_WINDOW_MS} ms`;
      deadline.abort(new AgentError("SOURCE_TIMEOUT", slow));
    }
    windowBytes = 0;
  }, PROGRESS_WINDOW_MS);
  try {
    for await (const chunk of body) {
      totalBytes += chunk.length;
      windowBytes += chunk.length;
      if (totalBytes > request.maxBytes) {
        const large = `${redactUrl(baseUrl)} answered with more than ${request.maxBytes} bytes`;
        throw new AgentError("SOURCE_TOO_LARGE", large);
      }
      if (request.onChunk === undefined) kept.push(chunk);
      else request.onChunk(chunk);
    }
  } finally {
    clearInterval(pace);
  }
  return Buffer.concat(kept);
}
