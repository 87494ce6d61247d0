import rateLimit from "@fastify/rate-limit";
import swagger from "@fastify/swagger";
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import type { Logger } from "pino";
import type { ApiSettings } from "../settings/settings.ts";
import { ApiRefusal, sendError } from "./envelope.ts";
import { type ApiKey, findApiKey, mayDo, type Scope } from "./keys.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The body as it came, for signatures and for places in it. */
    rawBody: Buffer;
    /** Whose key it shows; null for none that is known, undefined before anybody looked. */
    caller: ApiKey | null | undefined;
  }
  interface FastifyContextConfig {
    /** What a key must be allowed to do; a route without it needs no key. */
    readonly scope?: Scope;
  }
}

export interface ServerOptions {
  readonly settings: ApiSettings;
  /** Certificate chain and key, PEM; null without TLS. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | null;
  readonly readKeys: () => Promise<readonly ApiKey[]>;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** A request must be there within this, however slowly it is sent. Default 10,000. */
  readonly requestTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
const MAX_CONNECTIONS = 512;
const MAX_HEADER_BYTES = 16 * 1024;
/** Callers whose rate is remembered. */
const MAX_CALLERS = 10_000;

/**
 * Returns a server without routes: bounded in time, size and rate, with the keys judged before anything of the body is
 * looked at, every answer in the envelope, and a line in the log for every call.
 */
export async function buildServer(options: ServerOptions): Promise<FastifyInstance> {
  const { settings, tls, log, requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  const limits = {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: requestTimeoutMs,
    // Node looks for slow ones every 30 s, unless told.
    connectionsCheckingInterval: Math.min(1000, requestTimeoutMs),
  };
  const app = fastify({
    logger: false,
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    trustProxy: false,
    ...(tls === null ? { http: limits } : { https: { ...tls, ...limits, minVersion: "TLSv1.2" } }),
    ajv: {
      customOptions: {
        removeAdditional: false,
        coerceTypes: false,
        useDefaults: true,
        allErrors: false,
        allowUnionTypes: true,
      },
    },
  }) as unknown as FastifyInstance;
  const requireScope = async (request: FastifyRequest): Promise<void> => {
    const scope = request.routeOptions.config.scope;
    if (scope === undefined) return;
    const caller = await identify(request, options);
    if (caller === null) throw new ApiRefusal(401, "Valid API key is required");
    if (!mayDo(caller.scope, scope)) {
      throw new ApiRefusal(403, `the key ${caller.name} may ${caller.scope}; this call needs one that may ${scope}`);
    }
  };
  app.server.maxConnections = MAX_CONNECTIONS;
  app.decorateRequest("rawBody");
  app.decorateRequest("caller", undefined);
  // The schemas describe answers; nothing is left out of one because they do not know it.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  parseBodies(app);
  app.setErrorHandler(async (error, _request, reply) => await sendError(reply, error));
  app.addHook("onResponse", async (request, reply) => {
    log.info({
      event: "api-call",
      method: request.method,
      path: request.url.split("?", 1)[0]?.slice(0, 200),
      status: reply.statusCode,
      key: request.caller?.name ?? null,
      from: request.ip,
      tookMs: Math.round(reply.elapsedTime),
    });
  });
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Clawgress",
        version: "1",
        description: "What this gateway enforces, what it decided, and how to change it.",
      },
      components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
    },
  });
  await app.register(rateLimit, {
    hook: "preValidation",
    max: settings.requestsPerMinute,
    timeWindow: 60_000,
    cache: MAX_CALLERS,
    keyGenerator: async (request) => {
      const caller = await identify(request, options);
      return caller === null ? `address ${request.ip}` : `key ${caller.name}`;
    },
    errorResponseBuilder: (_request, context) =>
      new ApiRefusal(429, `too many calls: at most ${context.max} a minute`, Math.ceil(context.ttl / 1000)),
  });
  // After the rate, so that keys are not guessed at any; before the body is looked at.
  app.addHook("onRoute", (route) => {
    route.preValidation = [route.preValidation ?? [], requireScope].flat();
  });
  app.setNotFoundHandler({ preHandler: app.rateLimit() }, async (_request, reply) => {
    await sendError(reply, new ApiRefusal(404, "there is no such call; /api/clawgress/openapi.json lists all"));
  });
  return app;
}

/** JSON, whatever the type says: the first `curl -d` of everybody says that it is a form. */
function parseBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (request, body, next) => {
    request.rawBody = body as Buffer;
    if (request.rawBody.length === 0) {
      next(null, {});
      return;
    }
    try {
      next(null, JSON.parse(request.rawBody.toString("utf8")));
    } catch {
      next(new ApiRefusal(400, "USAGE: the body is no JSON"));
    }
  });
}

async function identify(request: FastifyRequest, { readKeys }: ServerOptions): Promise<ApiKey | null> {
  if (request.caller !== undefined) return request.caller;
  const shown = shownKey(request);
  request.caller = shown === null ? null : findApiKey(await readKeys(), shown);
  return request.caller;
}

const MAX_KEY_CHARACTERS = 200;

/** The key in the header, or where the first curl call of everybody has it: in the body. */
function shownKey({ headers, body }: FastifyRequest): string | null {
  const [, token] = /^Bearer ([!-~]+)$/i.exec(headers.authorization ?? "") ?? [];
  const inBody = (body as { readonly key?: unknown } | null | undefined)?.key;
  const shown = token ?? headers["x-api-key"] ?? inBody;
  return typeof shown === "string" && shown.length <= MAX_KEY_CHARACTERS ? shown : null;
}
