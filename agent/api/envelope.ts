import type { FastifyError, FastifyReply } from "fastify";
import { AgentError, type Code, toAgentError } from "../errors.ts";

/** What every answer of the API looks like. */
export interface Envelope {
  readonly success: boolean;
  readonly data: unknown;
  readonly error: string | null;
}

/** Returns the answer to a call that did what was asked. */
export function done(data: unknown): Envelope {
  return { success: true, data, error: null };
}

/** A refusal that has no code of the table: the caller's fault. */
export class ApiRefusal extends Error {
  readonly statusCode: number;
  readonly retryAfterS: number | null;

  constructor(statusCode: number, message: string, retryAfterS: number | null = null) {
    super(message);
    this.name = "ApiRefusal";
    this.statusCode = statusCode;
    this.retryAfterS = retryAfterS;
  }
}

const statuses: { readonly [code in Code]?: number } = {
  USAGE: 400,
  POLICY_INVALID: 400,
  POLICY_UNSUPPORTED: 400,
  AGENT_UNREACHABLE: 503,
  GATE_UNREACHABLE: 503,
  PROPOSAL_BUSY: 503,
};
const BUSY_RETRY_S = 5;

/** Returns the HTTP status for an error of the table: what the caller wrote is 400, what the gateway cannot do now 503. */
export function statusOf(code: Code): number {
  return statuses[code] ?? (code.startsWith("POLICY_") ? 400 : code.startsWith("HOST_") ? 500 : 409);
}

/** Returns an error as one text: what is wrong, and what to do about it. */
export function errorText({ code, message, remedy }: Pick<AgentError, "code" | "message" | "remedy">): string {
  return remedy === null ? `${code}: ${message}` : `${code}: ${message} (${remedy})`;
}

/** Answers with an error, in the envelope. */
export async function sendError(reply: FastifyReply, error: unknown, data: unknown = null): Promise<void> {
  const { status, text, retryAfterS } = describe(error);
  if (retryAfterS !== null) void reply.header("retry-after", String(retryAfterS));
  if (status === 401) void reply.header("www-authenticate", 'Bearer realm="clawgress"');
  await reply.code(status).send({ success: false, data, error: text } satisfies Envelope);
}

function describe(error: unknown): { status: number; text: string; retryAfterS: number | null } {
  if (error instanceof ApiRefusal) {
    return { status: error.statusCode, text: error.message, retryAfterS: error.retryAfterS };
  }
  if (error instanceof AgentError) {
    const status = statusOf(error.code);
    return { status, text: errorText(error), retryAfterS: status === 503 ? BUSY_RETRY_S : null };
  }
  const { statusCode, message } = error as Partial<FastifyError>;
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return { status: statusCode, text: `USAGE: ${message ?? "the call is wrong"}`, retryAfterS: null };
  }
  return { status: 500, text: errorText(toAgentError(error, "HOST_COMMAND", "the call failed")), retryAfterS: null };
}
