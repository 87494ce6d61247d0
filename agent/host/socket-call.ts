import { request } from "node:http";
import { AgentError, type Code, codes, type Json } from "../errors.ts";

export interface SocketCallOptions {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: { readonly [key: string]: unknown };
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
  /** The code of an error when nobody answers. */
  readonly unreachable: Code;
  /** Who should answer, for people. */
  readonly whom: string;
  /** What to do then. */
  readonly remedy?: string;
  /** Returns the failure that an answer other than 200 tells of; null when it tells of none. Default: one of this agent's errors as JSON. */
  readonly readFailure?: (answer: Buffer) => AgentError | null;
}

/**
 * Calls another of our processes over its Unix socket and returns the bytes of its answer.
 * @throws AgentError `unreachable` when nothing sound answers in time; what the other process threw, with its code.
 */
export function callSocket(socketPath: string, options: SocketCallOptions): Promise<Buffer> {
  const { method, path, timeoutMs, maxAnswerBytes, readFailure = parseFailure } = options;
  const unreachable = (reason: string, cause?: unknown): AgentError => noAnswer(socketPath, options, reason, cause);
  return new Promise((resolve, reject) => {
    const text = options.body === undefined ? "" : JSON.stringify(options.body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const call = request({ socketPath, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > maxAnswerBytes) call.destroy(new Error("its answer is too long"));
        else chunks.push(chunk);
      });
      response.on("error", (error) => reject(unreachable(error.message, error)));
      response.on("end", () => {
        const answer = Buffer.concat(chunks);
        if (response.statusCode === 200) resolve(answer);
        else reject(readFailure(answer) ?? unreachable(`it answered ${response.statusCode}`));
      });
    });
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    call.on("close", () => clearTimeout(timer));
    call.on("error", (error) => reject(unreachable(error.message, error)));
    call.end(text);
  });
}

/** Returns the JSON of an answer of `callSocket`. */
export async function callSocketJson(socketPath: string, options: SocketCallOptions): Promise<unknown> {
  const answer = await callSocket(socketPath, options);
  try {
    return JSON.parse(answer.toString("utf8"));
  } catch (error) {
    throw noAnswer(socketPath, options, "its answer is no JSON", error);
  }
}

function noAnswer(socketPath: string, options: SocketCallOptions, reason: string, cause: unknown): AgentError {
  const { unreachable, whom, remedy } = options;
  const message = `${whom} does not answer on ${socketPath}: ${reason}`;
  return new AgentError(unreachable, message, remedy === undefined ? { cause } : { remedy, cause });
}

function parseFailure(answer: Buffer): AgentError | null {
  try {
    const { code, message, remedy, details } = JSON.parse(answer.toString("utf8")) as {
      readonly [key: string]: unknown;
    };
    if (typeof code !== "string" || !Object.hasOwn(codes, code) || typeof message !== "string") return null;
    return new AgentError(code as Code, message, {
      ...(typeof remedy === "string" ? { remedy } : {}),
      ...(typeof details === "object" && details !== null ? { details: details as { [key: string]: Json } } : {}),
    });
  } catch {
    return null;
  }
}
