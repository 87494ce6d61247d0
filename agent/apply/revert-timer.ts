import { rm } from "node:fs/promises";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { createGateControl } from "../gate/control-client.ts";
import { findDaemon } from "../host/daemon.ts";
import { createLineLog } from "../host/event-log.ts";
import { createFileDigests } from "../host/file-digests.ts";
import { createMachineTurn } from "../host/machine-turn.ts";
import { createTurn } from "../host/turn.ts";
import { pathsOf } from "../settings/paths.ts";
import type { ApplyContext } from "./context.ts";
import { revertAtDeadline } from "./revert-at-deadline.ts";
import type { RevertOrder } from "./revert-timer-order.ts";
import { createStepTimes, plainStep } from "./step.ts";
import { readTransaction } from "./transaction.ts";

/**
 * The revert timer: a program of its own that outlives the agent. It waits for one order, says `armed <id>`, and at the
 * deadline puts the old release back unless the transaction was ended before. It knows neither Git nor policies nor trust.
 */
const MAX_ORDER_CHARS = 4 * 1024 * 1024;

function contextOf({ settings, configFile, programFolder, users, transactionFolder }: RevertOrder): ApplyContext {
  const known = pathsOf(settings);
  const paths = { ...known, transaction: transactionFolder ?? known.transaction };
  return {
    ...{ settings, paths, configFile, programFolder, users },
    gate: createGateControl(paths.gateSocket),
    verdicts: new Map(),
    digests: createFileDigests(),
    gateReleases: new Map(),
    inTurn: createTurn(),
    locked: createMachineTurn(paths.applyLock),
    step: plainStep,
    stepTimes: createStepTimes(),
    log: createLineLog("revert-timer", 2),
  };
}

async function watch(order: RevertOrder, wake: AbortSignal): Promise<void> {
  const context = contextOf(order);
  const transaction = await readTransaction(context.paths.transaction, "armed");
  if (transaction?.id !== order.transactionId) throw new Error("the transaction of the order is not armed");
  answers.write(`armed ${transaction.id}\n`);
  await revertAtDeadline(context, transaction, wake);
  // A later timer's stays.
  if ((await findDaemon(context.paths.timerPid)) === process.pid) await rm(context.paths.timerPid, { force: true });
}

// A unit of systemd has no pipes to the agent: it is told the socket at which the agent waits for it.
const [socketPath] = process.argv.slice(2);
const socket = socketPath === undefined ? null : connect(socketPath);
const answers = socket ?? process.stdout;
// The agent may be gone when it is answered.
answers.on("error", () => {});
const wake = new AbortController();
let isOrdered = false;
const lines = createInterface({ input: socket ?? process.stdin });
// One that was cut off does not end.
socket?.once("close", () => lines.close());
lines
  .once("line", (line) => {
    isOrdered = true;
    const order = JSON.parse(line.slice(0, MAX_ORDER_CHARS)) as RevertOrder;
    void watch(order, wake.signal).then(
      () => process.exit(0),
      (error: Error) => {
        process.stderr.write(`${JSON.stringify({ event: "revert-timer-failed", reason: error.message })}\n`);
        process.exit(1);
      },
    );
  })
  .once("close", () => {
    if (isOrdered) wake.abort();
    else process.exit(0);
  });
