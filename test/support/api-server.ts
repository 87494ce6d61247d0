import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { buildServer } from "../../agent/api/build-server.ts";
import type { ApiKey, Scope } from "../../agent/api/keys.ts";
import { addRoutes } from "../../agent/api/routes.ts";
import { compile } from "../../agent/compile/compile.ts";
import type { AgentCalls, Proposal, Verdict } from "../../agent/control/agent-calls.ts";
import { AgentError } from "../../agent/errors.ts";
import { formatIssue } from "../../agent/policy/issue-log.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { defaultCompileSettings } from "../../agent/settings/parse-settings.ts";
import type { ApiSettings } from "../../agent/settings/settings.ts";

/** The API's own server before an agent that judges policies as the real one does, and only remembers what it is asked. */
export interface TestApi {
  readonly app: FastifyInstance;
  readonly proposals: readonly Proposal[];
  readonly polls: () => number;
  readonly calls: readonly { readonly [field: string]: unknown }[];
  readonly post: (path: string, body: unknown, headers?: { readonly [name: string]: string }) => Promise<ApiReply>;
}

export interface ApiReply {
  readonly status: number;
  readonly body: { readonly success: boolean; readonly data: unknown; readonly error: string | null };
  readonly headers: { readonly [name: string]: unknown };
}

export const KEYS: { readonly [scope in Scope]: string } = {
  read: "key-read",
  propose: "key-propose",
  operate: "key-operate",
};
export const WEBHOOK_SECRET = "the-forge-and-we-know";

const apiKeys: readonly ApiKey[] = (["read", "propose", "operate"] as const).map((scope) => ({
  name: `who-may-${scope}`,
  scope,
  sha256: createHash("sha256").update(KEYS[scope]).digest("hex"),
  createdAt: "2026-01-01T00:00:00.000Z",
}));

/** Returns an API that does not listen; `inject` calls it. */
export async function buildTestApi(
  more: Partial<ApiSettings> = {},
  options: { readonly requestTimeoutMs?: number } = {},
): Promise<TestApi> {
  const calls: { readonly [field: string]: unknown }[] = [];
  const log = { info: (line: object) => calls.push({ ...line }), warn: () => {}, error: () => {} };
  const app = await buildServer({
    settings: {
      ...{ address: "127.0.0.1", port: 0, tls: null, user: "0", maxBodyBytes: 1024 * 1024, requestsPerMinute: 10_000 },
      ...{ metrics: "open", webhookSecretFile: null },
      ...more,
    },
    tls: null,
    readKeys: async () => apiKeys,
    log: log as unknown as Parameters<typeof buildServer>[0]["log"],
    ...options,
  });
  const proposals: Proposal[] = [];
  let polls = 0;
  const agent = {
    check: async (text) => judge(text),
    propose: async (proposal) => {
      const failed = judge(proposal.text).checks.find(({ ok }) => !ok);
      if (failed !== undefined) throw new AgentError(failed.code ?? "POLICY_INVALID", failed.details.join("\n"));
      proposals.push(proposal);
      const commit = String(proposals.length).padStart(40, "0");
      return { commit, serial: proposals.length, applied: true, outcome: "confirmed", changes: [], error: null };
    },
    poll: async () => {
      polls += 1;
      return { outcome: "unchanged", commit: null, serial: null, error: null };
    },
  } satisfies Partial<AgentCalls>;
  addRoutes(app, {
    agent: agent as Partial<AgentCalls> as AgentCalls,
    telemetry: async ({ view, target, window }, redacted) =>
      ({ view, target, window, redacted }) as unknown as Awaited<
        ReturnType<Parameters<typeof addRoutes>[1]["telemetry"]>
      >,
    metrics: async () => ({ text: "up 1\n", type: "text/plain" }),
    metricsScope: more.metrics === "key" ? "read" : null,
    readWebhookSecret: async () => WEBHOOK_SECRET,
    policyPath: "own:policy.json",
  });
  await app.ready();
  const post: TestApi["post"] = async (path, body, headers = {}) => {
    const payload = typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const reply = await app.inject({
      method: "POST",
      url: path,
      payload,
      headers: { "content-type": "application/json", ...headers },
    });
    return { status: reply.statusCode, body: JSON.parse(reply.body), headers: reply.headers };
  };
  return { app, proposals, polls: () => polls, calls, post };
}

function judge(text: string): Verdict {
  const result = parsePolicy(Buffer.from(text), "policy.json");
  if (result.ok) {
    compile({ policy: result.policy, settings: defaultCompileSettings });
    return { ok: true, checks: [{ name: "is a policy", ok: true, details: [], code: null }], changes: [] };
  }
  const details = result.issues.map(formatIssue);
  const code = result.issues.find(({ severity }) => severity === "error")?.code ?? "POLICY_INVALID";
  return { ok: false, checks: [{ name: "is a policy", ok: false, details, code }], changes: [] };
}
