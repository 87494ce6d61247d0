import type { IncomingMessage } from "node:http";
import { AgentError } from "../errors.ts";

export type CallBody = { readonly [key: string]: unknown };

/**
 * Returns the JSON object that a call carries; an empty body is an empty object.
 * @throws AgentError USAGE for more than `maxBytes`, for no JSON, and for JSON that is no object
 */
export async function readCallBody(request: IncomingMessage, maxBytes: number): Promise<CallBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new AgentError("USAGE", `the body has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  if (bytes === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new AgentError("USAGE", "the body is no JSON", { cause: error });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as CallBody;
  throw new AgentError("USAGE", "the body is no object");
}
