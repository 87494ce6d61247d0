import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { AgentCalls } from "../control/agent-calls.ts";
import type { Telemetry, TelemetryQuery, TelemetryView, TelemetryWindow } from "../decisions/telemetry.ts";
import { AgentError } from "../errors.ts";
import { formatTextIssue, parseJsonText } from "../policy/json-text.ts";
import { ApiRefusal, done, errorText, sendError, statusOf } from "./envelope.ts";
import { healthOf } from "./health.ts";
import type { Scope } from "./keys.ts";
import { envelopeOf, errorEnvelope, schemas } from "./schemas.ts";
import { createWebhookJudge, type WebhookForge, webhookForges } from "./webhook.ts";

export interface RouteParts {
  readonly agent: AgentCalls;
  readonly telemetry: (query: TelemetryQuery, isRedacted: boolean) => Promise<Telemetry>;
  /** The metrics as text, and their content type. */
  readonly metrics: () => Promise<{ readonly text: string; readonly type: string }>;
  readonly metricsScope: Scope | null;
  /** Null when no webhook is configured. */
  readonly readWebhookSecret: (() => Promise<string>) | null;
  /** Where the policy is kept, for people. */
  readonly policyPath: string;
}

const BASE = "/api/clawgress";
const errors = { "4xx": errorEnvelope, "5xx": errorEnvelope };

/** Adds every call of the API. */
export function addRoutes(app: FastifyInstance, parts: RouteParts): void {
  addPolicyRoutes(app, parts);
  addReadRoutes(app, parts);
  addPollRoutes(app, parts);
}

interface PolicyCall {
  readonly policy: object;
  readonly apply: boolean;
  readonly reason: string;
}

function addPolicyRoutes(app: FastifyInstance, { agent, policyPath }: RouteParts): void {
  const answers = { anyOf: [schemas.policyAnswer, schemas.verdictAnswer] };
  app.post<{ Body: PolicyCall }>(
    `${BASE}/policy`,
    {
      config: { scope: "propose" },
      schema: {
        summary: "Change the policy of a gateway without a remote repository, or judge one with apply: false",
        body: schemas.policyCall,
        response: { 200: envelopeOf(answers), ...errors },
        security: [{ key: [] }],
      },
    },
    async (request, reply) => {
      const text = policyText(request);
      if (!request.body.apply) {
        const { ok, checks, changes } = await agent.check(text);
        return done({ path: policyPath, applied: false, ok, checks, changes });
      }
      const { reason } = request.body;
      const by = request.caller?.name ?? "unknown";
      const { error, ...result } = await agent.propose({ text, by, reason, breakGlass: null });
      const data = { path: policyPath, ...result };
      if (result.applied) return done(data);
      // It is a commit, and says why it is not in force.
      const text2 = error === null ? "APPLY_FAILED: a later change took its place" : errorText(error);
      await sendError(reply, new ApiRefusal(error === null ? 409 : statusOf(error.code), text2), data);
      return reply;
    },
  );
  app.get(
    `${BASE}/policy`,
    {
      config: { scope: "read" },
      schema: {
        summary: "The policy that is enforced, with every default filled in",
        response: { 200: envelopeOf(schemas.enforcedAnswer), ...errors },
        security: [{ key: [] }],
      },
    },
    async () => done(await agent.policy()),
  );
}

/** What is judged, committed and shown is the policy of the body in one spelling; what the body says twice is refused. */
function policyText({ rawBody, body }: FastifyRequest<{ Body: PolicyCall }>): string {
  const strict = parseJsonText(rawBody, { file: "body" });
  if (!strict.ok) {
    const [first] = strict.issues;
    const message = first === undefined ? "the body is no JSON" : formatTextIssue(first);
    throw new AgentError("POLICY_INVALID", message, {
      remedy: "send one JSON object in UTF-8 that says nothing twice",
    });
  }
  return `${JSON.stringify(body.policy, null, 2)}\n`;
}

function addReadRoutes(app: FastifyInstance, parts: RouteParts): void {
  const { agent } = parts;
  const health = async () => done(healthOf(await agent.status(), parts.policyPath));
  app.post(
    `${BASE}/health`,
    {
      config: { scope: "read" },
      schema: {
        summary: "Whether everything is in force that should be",
        body: schemas.keyCall,
        response: { 200: envelopeOf(schemas.healthAnswer), ...errors },
        security: [{ key: [] }],
      },
    },
    health,
  );
  app.get(
    `${BASE}/status`,
    {
      config: { scope: "read" },
      schema: {
        summary: "What is enforced, since when, by whose approval, and what is wrong",
        response: { 200: envelopeOf(schemas.status), ...errors },
        security: [{ key: [] }],
      },
    },
    async () => done(await agent.status()),
  );
  app.post<{ Body: TelemetryCall }>(
    `${BASE}/telemetry`,
    {
      config: { scope: "read" },
      schema: {
        summary: "What was decided in a window of time",
        body: schemas.telemetryCall,
        response: { 200: envelopeOf(schemas.telemetry), ...errors },
        security: [{ key: [] }],
      },
    },
    async ({ body }) => done(await parts.telemetry(queryOf(body), body.redact)),
  );
  app.get<{ Querystring: Partial<TelemetryCall> }>(
    `${BASE}/decisions`,
    {
      config: { scope: "read" },
      schema: {
        summary: "The stored decisions, each kind with its count",
        querystring: querySchema(),
        response: { 200: envelopeOf(schemas.telemetry), ...errors },
        security: [{ key: [] }],
      },
    },
    async ({ query }) => {
      const { view = "export", window = "1h", target } = query;
      const isRedacted = (query.redact as unknown as string | undefined) !== "false";
      return done(
        await parts.telemetry(queryOf({ view, window, ...(target === undefined ? {} : { target }) }), isRedacted),
      );
    },
  );
  app.get(`${BASE}/openapi.json`, { schema: { hide: true } }, async () => app.swagger());
  app.get(
    "/metrics",
    {
      config: parts.metricsScope === null ? {} : { scope: parts.metricsScope },
      schema: { summary: "Metrics for Prometheus", produces: ["text/plain"] },
      serializerCompiler: () => (text) => text as string,
    },
    async (_request, reply: FastifyReply) => {
      const { text, type } = await parts.metrics();
      return await reply.type(type).send(text);
    },
  );
}

interface TelemetryCall {
  readonly view: TelemetryView;
  readonly target?: string;
  readonly window: TelemetryWindow;
  readonly redact: boolean;
}

function queryOf({ view, target, window }: Omit<TelemetryCall, "redact">): TelemetryQuery {
  const isAboutOne = view === "agent" || view === "domain";
  if (isAboutOne && target === undefined) {
    throw new AgentError("USAGE", `the view ${view} is about one of them`, { remedy: `name it: "target": "…"` });
  }
  if (!isAboutOne && target !== undefined) {
    throw new AgentError("USAGE", `the view ${view} has no target`, {
      remedy: "leave target out, or ask for the view agent or domain",
    });
  }
  return { view, target: target ?? null, window };
}

/** In an address everything is text. */
function querySchema(): object {
  const { properties, ...schema } = schemas.decisionsQuery as {
    readonly properties: { readonly [name: string]: object };
  };
  return { ...schema, properties: { ...properties, redact: { enum: ["true", "false"], default: "true" } } };
}

function addPollRoutes(app: FastifyInstance, { agent, readWebhookSecret }: RouteParts): void {
  app.post(
    `${BASE}/poll`,
    {
      config: { scope: "operate" },
      schema: {
        summary: "Look at the repository now",
        body: schemas.keyCall,
        response: { 200: envelopeOf(schemas.pollAnswer), ...errors },
        security: [{ key: [] }],
      },
    },
    async () => {
      const { outcome, commit, serial } = await agent.poll();
      return done({ outcome, commit, serial });
    },
  );
  if (readWebhookSecret === null) return;
  const judge = createWebhookJudge();
  app.post<{ Params: { readonly forge: WebhookForge } }>(
    `${BASE}/webhook/:forge`,
    {
      schema: {
        summary: "A forge's webhook: looks at the repository now, and does nothing else",
        params: { type: "object", required: ["forge"], properties: { forge: { enum: webhookForges } } },
        response: { 202: envelopeOf(schemas.webhookAnswer), ...errors },
      },
    },
    async (request, reply) => {
      const { params, headers, rawBody } = request;
      const call = { forge: params.forge, headers, body: rawBody ?? Buffer.alloc(0) };
      const verdict = judge.judge(call, await readWebhookSecret());
      if (verdict === "wrong-signature") throw new ApiRefusal(401, "the call is not signed with this gateway's secret");
      if (verdict === "replayed") throw new ApiRefusal(401, "the same delivery came before");
      // The forge does not wait for what becomes of it.
      agent.poll().catch(() => {
        // The next poll comes on schedule, and the agent's log says what is wrong with this one.
      });
      return await reply.code(202).send(done({ polled: true }));
    },
  );
}
