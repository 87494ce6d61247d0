import { AgentError } from "../errors.ts";
import type { ApplyContext } from "./context.ts";
import type { RevertOrder } from "./revert-timer-order.ts";
import { openTimerChannel } from "./timer-channel.ts";

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
 * Starts a revert timer, out of reach of what may end this process, and returns at once; it waits to be armed and ends when
 * this process does before that. It is started while a release is staged, so that an apply does not wait for Node's start.
 */
export async function startRevertTimer(context: ApplyContext): Promise<RevertTimer> {
  const { paths, settings, configFile, programFolder, users } = context;
  const channel = await openTimerChannel(context);
  // Whoever arms it is told; until then nobody waits for it.
  channel.answer.catch(() => {});
  return {
    arm: async (transactionId, transactionFolder) => {
      const order: RevertOrder = {
        ...{ settings, configFile, programFolder, users, transactionId },
        transactionFolder: transactionFolder ?? null,
      };
      channel.send(JSON.stringify(order));
      const expected = `armed ${transactionId}`;
      const [said, isNoted] = await Promise.all([
        within(ANSWER_MS, channel.answer).catch((error: Error) => error.message),
        // That of a change in flight is known by its pid file.
        transactionFolder !== undefined || within(ANSWER_MS, channel.note(paths.timerPid)).catch(() => false),
      ]);
      if (said === expected && isNoted) return;
      await channel.kill().catch(() => {
        // It cannot have been armed without its unit.
      });
      const where = settings.driver === "systemd" ? "the journal" : paths.timerLog;
      throw new AgentError("APPLY_NO_TIMER", `the revert timer is not armed: ${said.slice(0, 200)}`, {
        remedy: `nothing was changed; its last words are in ${where}`,
      });
    },
    dismiss: () => channel.close(),
  };
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
