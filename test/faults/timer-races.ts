import { readFileSync } from "node:fs";
import { access, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ApplyContext } from "../../agent/apply/context.ts";
import { startRevertTimer } from "../../agent/apply/revert-timer-client.ts";
import { createStepTimes, plainStep } from "../../agent/apply/step.ts";
import { armTransaction, confirmInTime, type Transaction, winTransaction } from "../../agent/apply/transaction.ts";
import { createGateControl } from "../../agent/gate/control-client.ts";
import { bootTimeMs, monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { createLineLog } from "../../agent/host/event-log.ts";
import { createFileDigests } from "../../agent/host/file-digests.ts";
import { createMachineTurn } from "../../agent/host/machine-turn.ts";
import { readProcess } from "../../agent/host/process-table.ts";
import { createTurn } from "../../agent/host/turn.ts";
import { parseSettings } from "../../agent/settings/parse-settings.ts";
import { pathsOf } from "../../agent/settings/paths.ts";
import type { Random } from "./random.ts";

/**
 * An agent that confirms and a revert timer that acts, for one transaction, at the same moment: the real record, the real
 * timer process and the real lock, and nothing else, so that it is done a thousand times in minutes. What a timer that wins would
 * put back is not there, so it closes everything: to be run in a network namespace of its own.
 */

export interface RaceReport {
  readonly rounds: number;
  readonly confirmed: number;
  readonly reverted: number;
  /** A line for each round that ended both ways, neither way, or otherwise than who was told that it had won says. */
  readonly wrong: readonly string[];
}

/** Until the timer's program is loaded; from then on it takes an order in a few milliseconds. */
const LOAD_MS = 500;
const DEADLINE_MS = 150;
const AT_ONCE = 3;
const TIMER_END_MS = 20_000;
const ROUND_USERS = { named: { uid: 64060, gid: 64060 }, gate: { uid: 64061, gid: 64061 }, proxy: null };

/** Runs so many races, each off by a random number of milliseconds from its deadline. */
export async function raceTimers(rounds: number, random: Random, programFolder: string): Promise<RaceReport> {
  const folder = await mkdtemp(join(tmpdir(), "clawgress-races-"));
  const counts = { confirmed: 0, reverted: 0 };
  const wrong: string[] = [];
  let left = rounds;
  let round = 0;
  const runner = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      round += 1;
      const own = join(folder, String(round));
      const jitterMs = random.between(-30, 12);
      const text = `round ${round}, ${jitterMs} ms`;
      const outcome = await raceOnce(own, programFolder, jitterMs).catch((error: Error) => {
        wrong.push(`${text}: ${error.message}`);
        return null;
      });
      // On a machine with other work the timer may have acted before the race began: that is none, and made up for.
      if (outcome === "late") left += 1;
      else if (outcome !== null) counts[outcome] += 1;
      await rm(own, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, runner));
  await rm(folder, { recursive: true, force: true });
  return { rounds, ...counts, wrong };
}

async function raceOnce(
  folder: string,
  programFolder: string,
  jitterMs: number,
): Promise<"confirmed" | "reverted" | "late"> {
  const context = contextOf(folder, programFolder);
  const { transaction: txn, timerPid, timerNote } = context.paths;
  const timer = await startRevertTimer(context);
  await sleepMs(LOAD_MS);
  const transaction: Transaction = {
    ...{
      id: "1".repeat(32),
      next: "a".repeat(64),
      nextTable: "n",
      previous: "b".repeat(64),
      previousTable: "t",
      commit: "c".repeat(40),
    },
    ...{ serial: 1, deadlineMs: bootTimeMs() + DEADLINE_MS },
  };
  await armTransaction(txn, transaction);
  const isArmed = await timer.arm(transaction.id).then(
    () => true,
    () => false,
  );
  const pid = await readFile(timerPid, "utf8").then(
    (text) => (JSON.parse(text) as { readonly pid: number }).pid,
    () => null,
  );
  const leftMs = transaction.deadlineMs - bootTimeMs() + jitterMs;
  if (leftMs > 0) await sleepMs(leftMs);
  const hasConfirmed = await confirmInTime(txn, transaction);
  // Who has not confirmed undoes, unless the timer does: as the agent does.
  const hasReverted = hasConfirmed ? false : await winTransaction(txn, "reverting");
  timer.dismiss();
  if (pid !== null) await ended(pid);
  const states = (await readdir(txn)).filter((name) => ["armed", "confirmed", "reverting", "reverted"].includes(name));
  const isNoted = await access(timerNote).then(
    () => true,
    () => false,
  );
  const found = `${states.join(" and ") || "nothing"}${isNoted ? ", with the timer's note" : ""}`;
  if (hasConfirmed && found === "confirmed") return "confirmed";
  const isReverted = !hasConfirmed && states.join() === "reverting";
  // A timer that could not say in time that it watches is ended, whatever it does, and writes no note then.
  if (isReverted && (!isArmed || pid === null)) return "late";
  if (isReverted && isNoted !== hasReverted) return "reverted";
  throw new Error(
    `${found}, though ${hasConfirmed ? "the agent confirmed" : hasReverted ? "the agent undid" : "it lost"}`,
  );
}

async function ended(pid: number): Promise<void> {
  for (const endMs = monotonicMs() + TIMER_END_MS; monotonicMs() < endMs; await sleepMs(5)) {
    if ((await readProcess(pid)) === null) return;
  }
  throw new Error("the timer does not end");
}

function contextOf(folder: string, programFolder: string): ApplyContext {
  const example = JSON.parse(readFileSync(join(dirname(programFolder), "examples", "agent.json"), "utf8")) as object;
  const document = { ...example, paths: { state: join(folder, "state"), run: join(folder, "run") } };
  const result = parseSettings(Buffer.from(JSON.stringify(document)), "agent.json");
  if (!result.ok) throw new Error(result.issues[0]?.message);
  const { settings } = result;
  const paths = pathsOf(settings);
  return {
    ...{ settings, paths, programFolder, configFile: join(folder, "agent.json"), users: ROUND_USERS },
    ...{
      gate: createGateControl(paths.gateSocket),
      verdicts: new Map(),
      digests: createFileDigests(),
      gateReleases: new Map(),
    },
    ...{ inTurn: createTurn(), locked: createMachineTurn(paths.applyLock), step: plainStep },
    ...{ stepTimes: createStepTimes(), log: createLineLog("races", 2) },
  };
}
