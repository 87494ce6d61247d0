import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { PATIENCE } from "../support/eventually.ts";

/** Calls a method of one of the lab's helper processes. @throws Error with the helper's message. */
export type CallLines = (method: string, params?: { readonly [name: string]: unknown }) => Promise<unknown>;

const CALL_TIMEOUT_MS = 30_000 * PATIENCE;

/** Returns a function that writes one JSON object a line and resolves with the answer of the same id; calls run side by side. */
export function callByLines(out: Writable, input: Readable, who: string): CallLines {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let ended = false;
  const fail = (reason: string) => (): void => {
    ended = true;
    for (const { reject } of waiting.values()) reject(new Error(`${who} ${reason}`));
    waiting.clear();
  };
  out.on("error", fail("cannot be reached"));
  input.on("error", fail("cannot be heard"));
  input.on("close", fail("has ended"));
  createInterface({ input }).on("line", (line) => {
    const answer = JSON.parse(line) as { id: number; result?: unknown; error?: string };
    const call = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.error === undefined) call?.resolve(answer.result);
    else call?.reject(new Error(`${who}: ${answer.error}`));
  });
  let nextId = 1;
  return async (method, params = {}) => {
    if (ended) throw new Error(`${who} has ended`);
    const id = nextId++;
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`${who} did not answer ${method} within ${CALL_TIMEOUT_MS} ms`));
      }, CALL_TIMEOUT_MS);
      waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      out.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  };
}
