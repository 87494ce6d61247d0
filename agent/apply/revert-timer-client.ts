import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { notePid } from "../host/daemon.ts";
import type { ApplyContext } from "./context.ts";
import type { RevertOrder } from "./revert-timer-order.ts";

/** The process that puts the old release back when nobody confirms the new one in time. */
export interface RevertTimer {
  /**
   * Tells it which transaction to watch and returns when it says that it does: from then on the revert comes, whatever
   * becomes of this process. @throws AgentError APPLY_NO_TIMER
   */
  arm(transactionId: string, transactionFolder?: string): Promise<void>;
  /** Ends it when it was never armed; an armed one looks whether its transaction is over. */
  dismiss(): void;
}

/** Node's start, on a busy machine. */
const ANSWER_MS = 10_000;

/**
 * Starts a revert timer, in a session of its own, and returns at once; it waits to be armed and ends when this process
 * does before that. It is started while a release is staged, so that an apply does not wait for Node's start.
 */
export async function startRevertTimer(context: ApplyContext): Promise<RevertTimer> {
  const { paths, settings, configFile, programFolder, users } = context;
  await mkdir(settings.paths.run, { recursive: true });
  const log = await open(paths.timerLog, "a", 0o640);
  const program = join(programFolder, "revert-timer.mjs");
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [program], { detached: true, stdio: ["pipe", "pipe", log.fd], cwd: "/" });
  } finally {
    await log.close();
  }
  // Whoever arms it is told; until then nobody waits for it.
  const answer = answerOf(child);
  answer.catch(() => {});
  child.stdin?.on("error", () => {});
  child.unref();
  return {
    arm: async (transactionId, transactionFolder) => {
      const order: RevertOrder = {
        ...{ settings, configFile, programFolder, users, transactionId },
        transactionFolder: transactionFolder ?? null,
      };
      child.stdin?.write(`${JSON.stringify(order)}\n`);
      const expected = `armed ${transactionId}`;
      const [said, isNoted] = await Promise.all([
        within(ANSWER_MS, answer).catch((error: Error) => error.message),
        // That of a change in flight is known by its pid file.
        child.pid === undefined ? false : transactionFolder !== undefined || notePid(paths.timerPid, child.pid),
      ]);
      if (said === expected && isNoted) return;
      child.kill("SIGKILL");
      throw new AgentError("APPLY_NO_TIMER", `the revert timer is not armed: ${said.slice(0, 200)}`, {
        remedy: `nothing was changed; its last words are in ${paths.timerLog}`,
      });
    },
    dismiss: () => {
      child.stdin?.destroy();
      child.stdout?.destroy();
    },
  };
}

/** Returns the first line that it says. */
function answerOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.once("error", reject);
    child.once("exit", (code, signal) => reject(new Error(`it ended (${code ?? signal})`)));
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
    });
  });
}

async function within<Result>(ms: number, work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
