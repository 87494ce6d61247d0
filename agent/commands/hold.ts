import { type HoldNote, readHold, removeHold, writeHold } from "../apply/hold-notes.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { findLockHolder } from "../host/file-lock.ts";
import { askAgent } from "../operator/requests.ts";
import { type Paths, pathsOf } from "../settings/paths.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

export interface HoldOptions {
  readonly config: string;
  readonly reason: string;
  readonly by?: string;
}

const ANSWER_MS = 5_000;

/** Keeps what is enforced as it is until `resume`, over restarts; polling, verification and repairs go on. Returns 0. */
export async function suspend(options: HoldOptions, output: Output): Promise<number> {
  const paths = pathsOf(await loadSettings(options.config));
  const note = noteOf(options);
  await writeHold(paths.suspended, note);
  output.line(`suspended: new commits are verified and not applied, until \`clawgress resume\``);
  output.document({ ok: true, suspended: { ...note } });
  return 0;
}

export interface ResumeOptions {
  readonly config: string;
  readonly retry?: boolean;
}

/**
 * Ends `suspend`, and what another program's changes have closed or left as they are; with `retry`, releases that were
 * rolled back may be tried once more. Returns 0.
 */
export async function resume({ config, retry = false }: ResumeOptions, output: Output): Promise<number> {
  const paths = pathsOf(await loadSettings(config));
  const was = await readHold(paths.suspended);
  await removeHold(paths.suspended);
  const isRunning = await agentRuns(paths);
  if (isRunning) await askAgent(paths, { verb: "look-again", retry }, ANSWER_MS);
  else {
    await removeHold(paths.fight);
    if (retry) await removeHold(paths.badReleases);
  }
  const next = isRunning
    ? "the next poll applies the head"
    : "no agent runs; `clawgress run` or `sync` applies the head";
  output.line(was === null && !retry ? `nothing was suspended; ${next}` : `resumed: ${next}`);
  output.document({ ok: true, wasSuspended: was !== null, retry, agentRuns: isRunning });
  return 0;
}

/** Returns whether an agent works with this state: it holds its lock for as long as it lives. */
export async function agentRuns({ agentLock }: Pick<Paths, "agentLock">): Promise<boolean> {
  return (await findLockHolder(agentLock)) !== null;
}

/** Returns the note that an operator leaves: who, why, when. @throws AgentError USAGE for an empty or overlong reason */
export function noteOf({ reason, by }: Pick<HoldOptions, "reason" | "by">): HoldNote {
  const text = reason.trim();
  if (text === "" || text.length > 500 || /\p{Cc}/u.test(text)) {
    throw new AgentError("USAGE", "the reason is empty, longer than 500 characters, or has control characters", {
      remedy: 'say why in one line: --reason "the new release breaks builds"',
    });
  }
  return { by: operatorName(by), reason: text, since: new Date(nowMs()).toISOString() };
}

function operatorName(by: string | undefined): string {
  const name = by ?? process.env["SUDO_USER"] ?? process.env["LOGNAME"] ?? process.env["USER"] ?? "root";
  return /^[\p{L}\p{N}._@+-]{1,64}$/u.test(name) ? name : "root";
}
