import { randomBytes } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { AgentError, type Code, codes } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile, syncFolder } from "../host/files.ts";
import type { Paths } from "../settings/paths.ts";

/** What an operator asks of the agent that runs; both folders are root's alone. */
export type OperatorRequest =
  | { readonly verb: "rollback"; readonly serial: number | null; readonly by: string; readonly reason: string }
  /** Look at the head again, though it was settled; with `retry`, rolled back releases may be tried once more. */
  | { readonly verb: "look-again"; readonly retry: boolean };

export type OperatorAnswer =
  | { readonly ok: true; readonly message: string }
  | { readonly ok: false; readonly code: Code; readonly message: string; readonly remedy: string | null };

const MAX_BYTES = 64 * 1024;
const POLL_MS = 50;
const NAME = /^([0-9a-f]{32})\.json$/;

type Folders = Pick<Paths, "requests" | "answers">;

/**
 * Hands the running agent a request and returns its answer.
 * @throws AgentError STATE_LOCKED when none comes in time: the request is withdrawn then, unless the agent is at it.
 */
export async function askAgent(paths: Folders, request: OperatorRequest, timeoutMs: number): Promise<OperatorAnswer> {
  const name = `${randomBytes(16).toString("hex")}.json`;
  for (const folder of [paths.requests, paths.answers]) await mkdir(folder, { recursive: true, mode: 0o700 });
  await replaceFile(join(paths.requests, name), JSON.stringify(request), 0o600);
  const endMs = monotonicMs() + timeoutMs;
  while (monotonicMs() < endMs) {
    const bytes = await readFileIfAny(join(paths.answers, name), MAX_BYTES);
    if (bytes !== null) {
      await rm(join(paths.answers, name), { force: true });
      return JSON.parse(bytes.toString("utf8")) as OperatorAnswer;
    }
    await sleepMs(POLL_MS);
  }
  await rm(join(paths.requests, name), { force: true });
  throw new AgentError("STATE_LOCKED", `the running agent did not answer within ${timeoutMs / 1000} s`, {
    remedy: "see its log; `clawgress lockdown` closes everything without it",
  });
}

/** Does every request that waits, one after the other; each is gone before it is begun, so that none is done twice. */
export async function answerRequests(
  paths: Folders,
  work: (request: OperatorRequest) => Promise<OperatorAnswer>,
): Promise<void> {
  const names = (await readdir(paths.requests).catch(() => [])).filter((name) => NAME.test(name)).sort();
  for (const name of names) {
    const bytes = await readFileIfAny(join(paths.requests, name), MAX_BYTES);
    await rm(join(paths.requests, name), { force: true });
    await syncFolder(paths.requests);
    if (bytes === null) continue;
    const answer = await work(JSON.parse(bytes.toString("utf8")) as OperatorRequest);
    await mkdir(paths.answers, { recursive: true, mode: 0o700 });
    await replaceFile(join(paths.answers, name), JSON.stringify(answer), 0o600);
  }
}

/** Returns an error as an answer. */
export function refusal({ code, message, remedy }: AgentError): OperatorAnswer {
  return { ok: false, code, message, remedy };
}

/** Returns the message of an answer. @throws AgentError for one that refuses */
export function unwrap(answer: OperatorAnswer): string {
  if (answer.ok) return answer.message;
  const code = answer.code in codes ? answer.code : "APPLY_FAILED";
  throw new AgentError(code, answer.message, answer.remedy === null ? {} : { remedy: answer.remedy });
}
